from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import Unprocessable
from api.incidents.incident_queries import (
    IncidentQueries,
    IncidentQuery,
    PagePosition,
    decode_cursor,
    encode_cursor,
    note_of,
)
from api.incidents.incident_store import IncidentStore
from tests.stream.cases import opened_case, over

if TYPE_CHECKING:
    from api.incidents.database import Database

TIMES = {"a": 100.0, "b": 200.0, "c": 200.0, "d": 200.0, "e": 300.0}


@pytest.fixture
def records(database: Database) -> IncidentQueries:
    """Five incidents, three of them of the same moment; "a" is over."""
    store = IncidentStore(database)
    for stream, opened_s in TIMES.items():
        store.save(msgspec.structs.replace(opened_case(stream), opened_s=opened_s))
    store.close(over(opened_case("a")))
    return IncidentQueries(database)


def listed(records: IncidentQueries, **filters: object) -> list[str]:
    query = IncidentQuery(limit=10)._replace(**filters)
    return [incident.stream for incident in records.list(query)]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_pages_hold_every_incident_once_newest_first(records: IncidentQueries, size: int) -> None:
    seen: list[str] = []
    after: PagePosition | None = None
    while page := records.list(IncidentQuery(limit=size, after=after)):
        assert len(page) <= size
        seen += [incident.stream for incident in page]
        after = PagePosition(page[-1].opened_s, page[-1].id)
    assert sorted(seen) == sorted(TIMES)
    assert [TIMES[stream] for stream in seen] == sorted(TIMES.values(), reverse=True)


def test_lists_can_be_narrowed_down(records: IncidentQueries) -> None:
    records.review(opened_case("b").id, note_of("me", "confirm", ""))
    assert listed(records, stream="c") == ["c"]
    assert sorted(listed(records, participant_id="somebody")) == sorted(TIMES)
    assert listed(records, participant_id="somebody-else") == []
    assert listed(records, is_open=False) == ["a"]
    assert sorted(listed(records, is_open=True)) == ["b", "c", "d", "e"]
    assert listed(records, review="confirmed") == ["b"]
    assert listed(records, since_s=300.0) == ["e"]
    assert listed(records, until_s=200.0) == ["a"]
    assert listed(records, call_id="another") == []
    assert len(listed(records, call_id="a-call")) == 5


def test_every_step_of_a_review_is_stored(records: IncidentQueries) -> None:
    incident = opened_case("a").id
    steps = {"note": "open", "confirm": "confirmed", "dismiss": "dismissed", "reopen": "open"}
    for decision, expected in steps.items():
        details = records.review(incident, note_of("me", decision, f"because {decision}"))
        assert details is not None
        assert details.incident.review == expected
    assert [note.text for note in details.notes] == [f"because {decision}" for decision in steps]
    assert details.incident.reviewed_by == "me"
    assert records.review("inc_unknown", note_of("me", "note", "")) is None


def test_deleting_removes_all_rows(records: IncidentQueries) -> None:
    incident = opened_case("a").id
    assert records.delete(incident)
    assert not records.delete(incident)
    assert records.get(incident) is None
    assert records.content(incident, "case.json") is None
    assert len(listed(records)) == 4


@given(st.floats(allow_nan=False, allow_infinity=False), st.from_regex(r"inc_[0-9a-f]{24}", fullmatch=True))
def test_cursors_round_trip(opened_s: float, incident: str) -> None:
    assert decode_cursor(encode_cursor(PagePosition(opened_s, incident))) == PagePosition(opened_s, incident)


@pytest.mark.parametrize("cursor", ["", "x", "????", "bmFuIGluY18x", "aW5mIGluY18x", "MS4w", "💥"])
def test_an_invalid_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Unprocessable, match="cursor"):
        decode_cursor(cursor)


@pytest.mark.parametrize(("text", "found"), [
    ("all-o", ["call-one"]), ("CALL-ONE", ["call-one"]), ("%", []), ("c_ll", []), ("\\", []),
    ("a-call", ["call-one", "other"]), ("some", ["call-one", "other"]), ("inc_", ["call-one", "other"]),
])  # fmt: skip
def test_text_is_found_in_id_stream_call_and_participant(database: Database, text: str, found: list[str]) -> None:
    store = IncidentStore(database)
    for stream in ("call-one", "other"):
        store.save(opened_case(stream))
    incidents = IncidentQueries(database).list(IncidentQuery(limit=10, text=text))
    assert sorted(incident.stream for incident in incidents) == found
