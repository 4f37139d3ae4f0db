"""Export and erasure by participant and by call, on a running service."""

from __future__ import annotations

import io
import json
import time
import zipfile
from typing import TYPE_CHECKING

import msgspec
import pytest

from api.incidents.export_bundle import unpack
from api.routes.incident_schemas import ErasureAnswer
from stream.events import StreamEnded
from stream.types import EndReason, FrameCounts
from tests.api.calls import started
from tests.api.routes.test_files import until
from tests.api.shapes import answer_as
from tests.stream.cases import opened_case

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from stream.incident_case import IncidentCase
    from tests.api.rig import Rig


def alarmed(rig: Rig, client: httpx.Client, stream: str, participant: str) -> IncidentCase:
    """The service has had an alarm of this participant, in a call of this stream's name."""
    case = opened_case(stream)
    origin = msgspec.structs.replace(case.origin, call_id=f"call-{stream}", participant_id=participant)
    case = msgspec.structs.replace(case, origin=origin, opened_s=time.time())
    rig.call(rig.context.service.event_sink.alarm, case)
    until(lambda: client.get(f"/v1/incidents/{case.id}").status_code == 200)
    return case


def in_history(rig: Rig, stream: str, participant: str, has_ended: bool) -> None:
    """The service has the timeline of a call in memory."""
    first = msgspec.structs.replace(started(stream), participant_id=participant, call_id=f"call-{stream}")
    records = rig.context.service.records
    rig.call(records.follow, first, time.monotonic())
    if has_ended:
        last = StreamEnded(stream=stream, epoch=first.epoch, reason=EndReason.STOPPED, message="", frames=FrameCounts())
        rig.call(records.follow, last, time.monotonic())


def test_all_that_is_kept_about_a_participant_is_exported_and_erased(
    rig: Rig, client: httpx.Client, tmp_path: Path
) -> None:
    cases = [alarmed(rig, client, f"exported-{number}", "ann@example") for number in (1, 2)]
    other = alarmed(rig, client, "exported-other", "bob@example")
    in_history(rig, "exported-1", "ann@example", has_ended=True)
    in_history(rig, "exported-live", "ann@example", has_ended=False)
    answer = client.get("/v1/participants/ann@example/export")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        kept = json.loads(archive.read("kept.json"))
        assert (kept["participant_id"], set(kept["incidents"])) == ("ann@example", {case.id for case in cases})
        assert {name.partition("/")[0] for name in archive.namelist()} == {"kept.json", "calls", "incidents"}
        timelines = [json.loads(archive.read(n)) for n in archive.namelist() if n.endswith("timeline.json")]
        assert {line["stream"] for line in timelines} == {"exported-1", "exported-live"}
        archive.extract(f"incidents/{cases[0].id}.zip", tmp_path)
    assert unpack(tmp_path / "incidents" / f"{cases[0].id}.zip").differences == ()
    erased = answer_as(ErasureAnswer, client.delete("/v1/participants/ann@example").json())
    assert (erased.incidents, erased.calls, erased.held, erased.running) == (2, 1, (), ("exported-live",))
    assert client.get(f"/v1/incidents/{cases[0].id}").status_code == 404
    assert client.get("/v1/streams/exported-1/timeline").status_code == 404
    assert client.get("/v1/streams/exported-live/timeline").status_code == 200
    assert client.get(f"/v1/incidents/{other.id}").status_code == 200
    assert answer_as(ErasureAnswer, client.delete("/v1/calls/call-exported-other").json()).incidents == 1


def test_nothing_about_a_held_incident_is_erased(rig: Rig, client: httpx.Client) -> None:
    case = alarmed(rig, client, "held", "cay")
    hold = client.post(f"/v1/incidents/{case.id}/review", json={"decision": "hold", "note": "case 7", "by": "Ada"})
    assert hold.json()["held"] is True
    refused = client.delete(f"/v1/incidents/{case.id}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "on_hold")
    assert client.delete("/v1/participants/cay").json()["held"] == [case.id]
    client.post(f"/v1/incidents/{case.id}/review", json={"decision": "release"})
    assert client.delete("/v1/participants/cay").json()["incidents"] == 1


@pytest.mark.parametrize("name", ["a%00b", "a%20b", "%E2%82%AC", "a" * 129])
def test_names_that_no_participant_has_are_refused(client: httpx.Client, name: str) -> None:
    for method, path in (("GET", "participants/{}/export"), ("DELETE", "participants/{}"), ("DELETE", "calls/{}")):
        assert client.request(method, f"/v1/{path.format(name)}").status_code == 422


def test_an_unknown_participant_has_an_empty_export(client: httpx.Client) -> None:
    with zipfile.ZipFile(io.BytesIO(client.get("/v1/participants/nobody/export").content)) as archive:
        assert archive.namelist() == ["kept.json"]
    assert client.delete("/v1/participants/nobody").json()["incidents"] == 0


def test_both_need_a_key(keyed_rig: Rig) -> None:
    with keyed_rig.client() as stranger:
        for method, path in (("GET", "participants/a/export"), ("DELETE", "participants/a"), ("DELETE", "calls/a")):
            assert stranger.request(method, f"/v1/{path}").status_code == 401
