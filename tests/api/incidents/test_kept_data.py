from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from sqlalchemy import func, select

from api.errors import OnHold
from api.incidents.database import Database
from api.incidents.evidence_files import files_of
from api.incidents.incident_queries import IncidentQueries, note_of
from api.incidents.incident_store import IncidentStore
from api.incidents.kept_data import DataSubject, KeptData
from api.incidents.tables import deliveries, files, incidents, notes
from tests.stream.cases import opened_case, over

if TYPE_CHECKING:
    from pathlib import Path

    from stream.incident_case import IncidentCase

TARGETS = ["https://one.example/", "https://two.example/"]


def case_of(stream: str, call: str, participant: str) -> IncidentCase:
    case = opened_case(stream)
    origin = msgspec.structs.replace(case.origin, call_id=call, participant_id=participant)
    return msgspec.structs.replace(case, origin=origin)


@pytest.fixture
def cases(database: Database) -> dict[str, IncidentCase]:
    """Incidents of Ann in two calls, and of Bob in one of them, reported to two webhooks."""
    found = {
        "ann-1": case_of("ann-1", "call-1", "ann"), "ann-2": case_of("ann-2", "call-2", "ann"),
        "bob-1": case_of("bob-1", "call-1", "bob"),
    }  # fmt: skip
    store = IncidentStore(database, TARGETS)
    for case in found.values():
        store.save(case)
        IncidentQueries(database).review(case.id, note_of("me", "note", "seen"))
    return found


def rows_of(database: Database) -> list[int]:
    with database.reading() as connection:
        tables = (incidents, notes, deliveries)
        return [connection.execute(select(func.count()).select_from(table)).scalar() or 0 for table in tables]


def test_erasing_a_participant_leaves_nothing_of_it_and_all_of_others(
    database: Database, cases: dict[str, IncidentCase]
) -> None:
    kept = KeptData(database)
    assert set(kept.incidents_of(DataSubject(participant_id="ann"))) == {cases["ann-1"].id, cases["ann-2"].id}
    erasure = kept.erase(DataSubject(participant_id="ann"))
    assert (erasure.incidents, erasure.messages, erasure.held) == (2, 4, ())
    assert kept.incidents_of(DataSubject(participant_id="ann")) == ()
    assert rows_of(database) == [1, 1, 2]
    with database.reading() as connection:
        assert set(connection.execute(select(files.c.incident_id)).scalars()) == {cases["bob-1"].id}
    assert kept.erase(DataSubject(participant_id="ann")).incidents == 0


def test_erasing_a_call_erases_all_its_participants(database: Database, cases: dict[str, IncidentCase]) -> None:
    kept = KeptData(database)
    assert kept.erase(DataSubject(call_id="call-1")).incidents == 2
    assert kept.incidents_of(DataSubject(participant_id="ann")) == (cases["ann-2"].id,)


def test_an_alarm_of_an_erased_incident_closes_without_a_trace(
    database: Database, cases: dict[str, IncidentCase]
) -> None:
    KeptData(database).erase(DataSubject(participant_id="bob"))
    assert IncidentStore(database, TARGETS).close(over(cases["bob-1"])) == ()
    assert rows_of(database) == [2, 2, 4]


def test_a_legal_hold_keeps_an_incident_from_erasure_deletion_and_expiry(
    database: Database, cases: dict[str, IncidentCase]
) -> None:
    queries, kept, store, held = IncidentQueries(database), KeptData(database), IncidentStore(database), cases["ann-1"]
    details = queries.review(held.id, note_of("Ada", "hold", "case 12"))
    assert details is not None
    assert (details.incident.held, details.incident.review) == (True, "open")
    assert [(note.decision, note.by, note.text) for note in details.notes][-1] == ("hold", "Ada", "case 12")
    erasure = kept.erase(DataSubject(participant_id="ann"))
    assert (erasure.incidents, erasure.held) == (1, (held.id,))
    with pytest.raises(OnHold):
        queries.delete(held.id)
    for case in cases.values():
        store.close(over(case))
    assert store.delete_before(1e12) == 1
    assert queries.contents(held.id)
    queries.review(held.id, note_of("Ada", "release", ""))
    assert store.delete_before(1e12) == 1
    assert rows_of(database)[0] == 0


@pytest.mark.parametrize("way", ["erase", "delete"])
def test_no_picture_is_left_in_the_files_of_sqlite(tmp_path: Path, way: str) -> None:
    database = Database(f"sqlite:///{tmp_path}/incidents.sqlite")
    case = opened_case()
    IncidentStore(database).save(case)
    (picture,) = {file.content for file in files_of(case) if file.name == f"frames/{case.pictured[0].sequence:08d}.jpg"}
    with database.reading():
        assert picture[200:264] in on_disk(tmp_path)
    if way == "erase":
        KeptData(database).erase(DataSubject(participant_id="somebody"))
    else:
        assert IncidentQueries(database).delete(case.id)
    assert picture[200:264] not in on_disk(tmp_path)
    database.close()


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())
