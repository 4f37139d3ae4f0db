"""Server-Sent Events, read as an EventSource reads them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from stream import event_encoding
from stream.event_bus import HISTORY_EVENTS, QUEUE_EVENTS
from stream.events import Label, Reason
from tests.api.calls import said, started
from tests.api.routes.test_events_websocket import end, publish
from tests.api.routes.test_files import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.rig import Rig


class Message(NamedTuple):
    kind: str
    id: str
    data: Any


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """By the parsing rules of the HTML standard, comments left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Message(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
            fields = {}


@contextmanager
def reading(rig: Rig, last_event_id: str = "", **query: Any) -> Iterator[Iterator[Message]]:
    headers = {"Last-Event-ID": last_event_id.encode("latin-1")} if last_event_id else {}
    with rig.client() as client, client.stream("GET", "/v1/events", params=query, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield messages(answer.iter_lines())


def data(*events: Any) -> list[Any]:
    return [json.loads(event_encoding.encode(event)) for event in events]


def test_a_snapshot_precedes_new_events(rig: Rig) -> None:
    publish(rig, started("sse"), said("sse", 1))
    with reading(rig, stream="sse") as read:
        first = next(read)
        assert (first.kind, first.data["events"]) == ("snapshot", data(started("sse"), said("sse", 1)))
        publish(rig, said("other", 1), said("sse", 2))
        second = next(read)
    feed, offset = first.id.split(":")
    assert second == ("message", f"{feed}:{int(offset) + 2}", *data(said("sse", 2)))
    end(rig, "sse")


def test_a_reconnecting_reader_gets_exactly_the_missed_events(rig: Rig) -> None:
    with reading(rig, stream="missed") as read:
        place = next(read).id
    publish(rig, *(said("missed", n) for n in (1, 2)))
    with reading(rig, last_event_id=place, stream="missed") as read:
        publish(rig, said("missed", 3))
        assert [next(read).data["sequence"] for _ in range(3)] == [1, 2, 3]
    end(rig, "missed")


@pytest.mark.parametrize(
    "place", ["x", "feed:1", ":", "{feed}:", "{feed}:-1", "{feed}:\u00b2", "{feed}:999999999", "{feed}:1e3"]
)
def test_a_gap_that_cannot_be_recovered_gets_a_snapshot(rig: Rig, place: str) -> None:
    place = place.replace("{feed}", rig.call(lambda: rig.context.bus.feed))
    with reading(rig, last_event_id=place) as read:
        assert next(read).kind == "snapshot"


def test_calls_and_labels_are_chosen(rig: Rig) -> None:
    fake = said("b", 2, Label.FAKE, Reason.EVIDENCE_FAKE)
    with reading(rig, call="sse-room", label=["FAKE", "REAL"]) as read:
        assert next(read).data == {"events": []}
        publish(rig, started("a"), started("b", call_id="sse-room"), said("b", 1), fake)
        assert [next(read).data for _ in range(2)] == data(started("b", call_id="sse-room"), fake)
    for stream in ("a", "b"):
        end(rig, stream)
    with rig.client() as client:
        assert client.get("/v1/events", params={"label": "SUSPICIOUS"}).status_code == 422


def test_a_reader_that_disconnects_is_unsubscribed(rig: Rig) -> None:
    with reading(rig) as read:
        next(read)
        assert rig.call(lambda: len(rig.context.watchers)) == 1
    publish(rig, said("noticed", 1))
    until(lambda: not rig.call(lambda: rig.context.watchers))


@pytest.mark.slow
def test_a_reader_that_never_reads_is_dropped_without_delaying_others(rig: Rig) -> None:
    with rig.client() as client, client.stream("GET", "/v1/events", params={"stream": "slow"}):
        for batch in range(0, HISTORY_EVENTS, QUEUE_EVENTS):
            labels = (Label.FAKE, Label.REAL)
            publish(rig, *(said("slow", batch + n, labels[n % 2]) for n in range(QUEUE_EVENTS)))
        until(lambda: not rig.call(lambda: rig.context.watchers))
    end(rig, "slow")


def test_the_limit_of_readers_is_reported(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routes.events_websocket.MAX_WATCHERS", 0)
    answer = httpx.get(f"{rig.url}/v1/events", trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service_full")
    assert "retry-after" in answer.headers
