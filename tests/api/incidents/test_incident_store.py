from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import pytest
from sqlalchemy import func, select

from api.incidents.evidence_files import case_of, files_of, frames_of
from api.incidents.incident_queries import IncidentQueries, note_of
from api.incidents.incident_store import LEASE_S, IncidentStore
from api.incidents.tables import files, incidents, notes
from api.incidents.webhook_outbox import WebhookOutbox
from stream.types import CloseReason
from tests.stream.cases import opened_case, over

if TYPE_CHECKING:
    from api.incidents.database import Database

TARGETS = ["https://one.example/", "https://two.example/"]


def test_an_alarm_is_stored_with_all_its_evidence(database: Database) -> None:
    case = opened_case()
    event = IncidentStore(database).save(case)
    assert event is not None
    assert (event.id, event.stream, event.epoch, event.verdict) == (case.id, "call", 7, case.verdict.id)
    assert (event.tracks, event.call_id, event.rules_sha256) == ((1,), "a-call", case.rules.sha256)
    assert event.prob_fake == case.verdict.faces[0].prob_fake
    contents = IncidentQueries(database).contents(case.id)
    assert msgspec.structs.replace(case_of(contents), pictured=case.pictured) == case
    frames = frames_of(contents)
    assert [frame.sequence for frame in frames] == [seen.sequence for seen in case.pictured]
    for frame, seen in zip(frames, case.pictured, strict=True):
        assert seen.pictures is not None
        (face,) = frame.faces
        assert contents[frame.frame] == seen.pictures.jpeg
        assert contents[str(face.crop)] == seen.pictures.faces[0].png
        assert contents[str(face.heat)].startswith(b"\xff\xd8")
        assert bytes(face.heat_map) == seen.faces[0].heat_map
        assert face.spectrum == seen.pictures.faces[0].spectrum


def test_files_are_listed_with_their_digests(database: Database) -> None:
    case = opened_case()
    IncidentStore(database).save(case)
    records = IncidentQueries(database)
    details = records.get(case.id)
    assert details is not None
    contents = records.contents(case.id)
    assert {file.name for file in details.files} == contents.keys()
    for file in details.files:
        assert file.sha256 == hashlib.sha256(contents[file.name]).hexdigest()
        assert file.size_bytes == len(contents[file.name])


def test_a_repeated_alarm_is_stored_and_published_once(database: Database) -> None:
    store = IncidentStore(database, TARGETS)
    assert store.save(opened_case()) is not None
    assert store.save(opened_case()) is None
    assert IncidentStore(database, TARGETS).save(opened_case()) is None
    assert _count(database, incidents) == 1
    outbox = WebhookOutbox(database)
    for target in TARGETS:
        taken = outbox.take(target, 1e10)
        assert taken is not None
        assert taken.message_id == f"{opened_case().id}.opened"
        assert outbox.take(target, 1e10) is None


def test_many_at_once_lose_nothing(database: Database) -> None:
    store = IncidentStore(database, TARGETS)
    cases = [opened_case(f"call-{n}") for n in range(6)]
    with ThreadPoolExecutor(4) as threads:
        told = list(threads.map(store.save, cases))
    assert [event.id for event in told if event is not None] == [case.id for case in cases]
    assert _count(database, incidents) == 6


def test_an_ended_alarm_is_closed_with_its_reason(database: Database) -> None:
    store, case = IncidentStore(database), opened_case()
    store.save(case)
    store.save(opened_case("other"))
    (event,) = store.close(over(case))
    assert (event.id, event.reason, event.opened_s) == (case.id, CloseReason.ALARM_OVER, case.opened_s)
    assert store.close(over(case)) == ()
    details = IncidentQueries(database).get(case.id)
    assert details is not None
    assert (details.incident.closed_s, details.incident.closed_pts_s) == (over(case).closed_s, 99.0)
    assert details.incident.close_reason == "alarm_over"


def test_an_incident_without_a_lease_is_interrupted(database: Database) -> None:
    gone, here = IncidentStore(database), IncidentStore(database, TARGETS)
    lost, watched = opened_case("lost"), opened_case("watched")
    gone.save(lost)
    here.save(watched)
    assert here.close_abandoned(lost.opened_s + LEASE_S - 1) == ()
    here.renew_leases(lost.opened_s + LEASE_S)
    (event,) = here.close_abandoned(lost.opened_s + LEASE_S + 1)
    assert (event.id, event.reason, event.closed_s) == (lost.id, CloseReason.INTERRUPTED, lost.opened_s)
    taken = WebhookOutbox(database).take(TARGETS[0], 1e10)
    assert taken is not None
    assert here.close_abandoned(lost.opened_s + 2 * LEASE_S + 1)[0].id == watched.id


def test_old_incidents_are_deleted_with_all_that_belongs_to_them(database: Database) -> None:
    store, records = IncidentStore(database), IncidentQueries(database)
    old, still_open = opened_case("old"), opened_case("open")
    for case in (old, still_open):
        store.save(case)
        records.review(case.id, note_of("me", "note", "words"))
    store.close(over(old))
    assert store.delete_before(old.opened_s) == 0
    assert store.delete_before(old.opened_s + 1) == 1
    assert records.get(old.id) is None
    assert records.get(still_open.id) is not None
    assert records.contents(old.id) == {}
    assert (_count(database, notes), _count(database, incidents)) == (1, 1)
    assert _count(database, files) == len(files_of(still_open))


def test_all_processes_sign_urls_with_one_key(database: Database) -> None:
    keys = {IncidentStore(database).url_key(), IncidentStore(database).url_key()}
    assert len(keys) == 1
    assert len(keys.pop()) == 32


@pytest.mark.parametrize("name", ["💥 call", "a/b", "x" * 200])
def test_any_stream_name_will_do(database: Database, name: str) -> None:
    case = opened_case(name)
    IncidentStore(database).save(case)
    details = IncidentQueries(database).get(case.id)
    assert details is not None
    assert details.incident.stream == name


def _count(database: Database, table: object) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar() or 0   # type: ignore[arg-type]
