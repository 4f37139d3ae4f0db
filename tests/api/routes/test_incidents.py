from __future__ import annotations

import io
import time
import zipfile
from typing import TYPE_CHECKING

import msgspec
import pytest

from api.incidents.export_bundle import MANIFEST
from api.incidents.signed_urls import VALID_S, UrlSigner, evidence_path
from api.routes.incident_schemas import DeadLetters, IncidentDetails, IncidentList
from tests.api.conftest import KEY
from tests.api.incidents.receiver import SECRET, Receiver, receiving
from tests.api.rig import Rig, running_rig
from tests.api.routes.test_files import until
from tests.api.shapes import answer_as
from tests.stream.cases import opened_case, over

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from stream.incident_case import IncidentCase


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture(scope="module")
def told_rig(receiver: Receiver) -> Iterator[Rig]:
    """A service with an API key and webhooks."""
    with running_rig(api_keys=KEY, webhook_urls=receiver.url, webhook_secrets=SECRET, webhook_private=True) as running:
        yield running


@pytest.fixture
def client(told_rig: Rig) -> Iterator[httpx.Client]:
    with told_rig.client(KEY) as keyed:
        yield keyed


def alarmed(rig: Rig, stream: str) -> IncidentCase:
    """The service has had an alarm of this stream."""
    case = msgspec.structs.replace(opened_case(stream), opened_s=time.time())
    rig.call(rig.context.service.event_sink.alarm, case)
    with rig.client(KEY) as client:
        until(lambda: client.get(f"/v1/incidents/{case.id}").status_code == 200)
    return case


def test_an_alarm_is_listed_looked_at_reviewed_exported_and_deleted(
    told_rig: Rig, client: httpx.Client, receiver: Receiver
) -> None:
    case = alarmed(told_rig, "whole-life")
    listed = answer_as(IncidentList, client.get("/v1/incidents", params={"stream": "whole-life"}).json())
    assert [incident.id for incident in listed.incidents] == [case.id]
    shown = answer_as(IncidentDetails, client.get(f"/v1/incidents/{case.id}").json())
    assert (shown.review, shown.close_reason, shown.tracks, shown.call_id) == ("open", None, (1,), "a-call")
    told_rig.call(told_rig.context.service.event_sink.alarm, over(case))
    until(lambda: client.get(f"/v1/incidents/{case.id}").json()["close_reason"] == "alarm_over")
    answer = client.post(f"/v1/incidents/{case.id}/review", json={"decision": "confirm", "note": "seen", "by": "Ada"})
    reviewed = answer_as(IncidentDetails, answer.json())
    assert reviewed.review == "confirmed"
    assert [(note.decision, note.text) for note in reviewed.notes] == [("confirm", "seen")]
    assert (reviewed.reviewed_by or "").startswith("Ada (key-")
    exported = client.get(f"/v1/incidents/{case.id}/export")
    assert exported.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        assert set(archive.namelist()) == {MANIFEST, "incident.json", *(file.name for file in shown.evidence)}
    assert client.delete(f"/v1/incidents/{case.id}").status_code == 204
    assert client.get(f"/v1/incidents/{case.id}").json()["error"]["code"] == "incident_unknown"
    until(lambda: {f"{case.id}.opened", f"{case.id}.closed"} <= set(receiver.ids))
    assert receiver.unsigned == []


def test_evidence_needs_a_key_or_a_fresh_address(told_rig: Rig, client: httpx.Client) -> None:
    case = alarmed(told_rig, "evidence")
    files = client.get(f"/v1/incidents/{case.id}").json()["evidence"]
    (frame,) = [file for file in files if file["name"] == f"frames/{case.pictured[0].sequence:08d}.jpg"]
    path = frame["url"].partition("?")[0]
    with told_rig.client() as stranger:
        shown = stranger.get(frame["url"])
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
        assert case.pictured[0].pictures is not None
        assert shown.content == case.pictured[0].pictures.jpeg
        tag = {"If-None-Match": shown.headers["etag"]}
        assert stranger.get(frame["url"], headers=tag).status_code == 304
        assert stranger.get(path).status_code == 401
        assert stranger.get(frame["url"][:-1] + "x").status_code == 401
        assert stranger.get(frame["url"].replace(frame["name"], "case.json")).status_code == 401
    assert client.get(path).content == shown.content
    assert client.get(f"/v1/incidents/{case.id}/evidence/nothing").json()["error"]["code"] == "file_unknown"


def test_pages_follow_each_other(told_rig: Rig, client: httpx.Client) -> None:
    ids = {alarmed(told_rig, f"page-{number}").id for number in range(3)}
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/incidents", params={"limit": 2, **cursor}).json()
        seen += [incident["id"] for incident in page["incidents"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert ids <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1000", "state=odd", "review=odd", "since=nan", "cursor=%3f", "unknown=1"]
)
def test_lists_that_make_no_sense_are_refused(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/v1/incidents?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] in ("invalid_request", "bad_cursor")


@pytest.mark.parametrize("body", [{}, {"decision": "perhaps"}, {"decision": "note", "note": "x" * 4001}, []])
def test_reviews_that_make_no_sense_are_refused(client: httpx.Client, body: object) -> None:
    assert client.post("/v1/incidents/inc_x/review", json=body).status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/incidents/inc_x"), ("DELETE", "/v1/incidents/inc_x"), ("GET", "/v1/incidents/inc_x/export"),
        ("GET", "/v1/incidents/inc_x/evidence/case.json"), ("POST", "/v1/webhooks/dead/1/retry"),
        ("DELETE", "/v1/webhooks/dead/1"),
    ],
)
def test_unknown_incidents_are_404(client: httpx.Client, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 404


def test_dead_letters_are_listed_and_retried(told_rig: Rig, client: httpx.Client, receiver: Receiver) -> None:
    receiver.answers = [410]
    case = alarmed(told_rig, "given-up")
    until(lambda: client.get("/v1/webhooks/dead").json()["dead"])
    (dead,) = answer_as(DeadLetters, client.get("/v1/webhooks/dead").json()).dead
    assert (dead.message_id, dead.target, dead.error) == (f"{case.id}.opened", receiver.url, "answered 410")
    assert client.get("/v1/webhooks/dead", params={"after": dead.id}).json() == {"dead": [], "next": None}
    assert client.post(f"/v1/webhooks/dead/{dead.id}/retry").status_code == 202
    until(lambda: receiver.ids.count(dead.message_id) == 2)
    assert client.get("/v1/webhooks/dead").json()["dead"] == []


def test_addresses_end_and_cannot_be_made_up() -> None:
    signer = UrlSigner(b"k" * 32)
    path, _, query = signer.url(evidence_path("inc_1", "frames/1.jpg"), 1000.0).partition("?")
    assert path == "/v1/incidents/inc_1/evidence/frames/1.jpg"
    expires, signature = (part.partition("=")[2] for part in query.split("&"))
    assert 1000 + VALID_S <= int(expires) <= 1000 + VALID_S + 60
    assert signer.is_valid(path, expires=expires, signature=signature, now_s=int(expires))
    assert not signer.is_valid(path, expires=expires, signature=signature, now_s=int(expires) + 1)
    for other in (evidence_path("inc_2", "frames/1.jpg"), evidence_path("inc_1", "frames/2.jpg")):
        assert not signer.is_valid(other, expires=expires, signature=signature, now_s=1000.0)
    assert not signer.is_valid(path, expires=str(int(expires) + 60), signature=signature, now_s=1000.0)
    assert not UrlSigner(b"j" * 32).is_valid(path, expires=expires, signature=signature, now_s=1000.0)
    for odd in ("", "x", "-1", "١٢٣", "1e9"):
        assert not signer.is_valid(path, expires=odd, signature=signature, now_s=0.0)
