from __future__ import annotations

import json

import msgspec
import pytest

from stream import event_encoding
from stream.config import StreamConfig
from stream.events import Event, IncidentClosed, IncidentOpened, StreamEnded, StreamGap, StreamStalled, StreamStarted
from stream.rolling_verdicts import RollingVerdicts
from stream.types import CloseReason, EndReason, FrameCounts
from tests.stream.observations import face, moment, observation


def events() -> list[Event]:
    (verdict,) = RollingVerdicts("call", 7, 0.3, StreamConfig()).observe(observation(0, (face(llr=1.0),)), moment())
    return [
        StreamStarted(stream="call", epoch=7, source="whip", started_s=1.5),
        verdict,
        StreamGap(stream="call", epoch=7, cause="worker_lost", from_s=2.0),
        StreamStalled(stream="call", epoch=7, silent_s=5.5, from_s=2.0),
        IncidentOpened(
            id="inc_1", stream="call", epoch=7, verdict="call/7/9", opened_s=1.5, pts_s=5.0, tracks=(1,),
            prob_fake=0.99, suspicion=1.0, model=None, rules_sha256="0" * 64, source="whip",
        ),
        IncidentClosed(
            id="inc_1", stream="call", epoch=7, reason=CloseReason.ALARM_OVER, opened_s=1.5, closed_s=9.5, pts_s=13.0
        ),
        StreamEnded(stream="call", epoch=7, reason=EndReason.STOPPED, message="", frames=FrameCounts(received=3)),
    ]


@pytest.mark.parametrize("event", events(), ids=lambda e: type(e).__name__)
def test_events_round_trip(event: Event) -> None:
    assert event_encoding.decode(event_encoding.encode(event)) == event


@pytest.mark.parametrize("event", events(), ids=lambda e: type(e).__name__)
def test_an_embedded_event_is_the_same_json(event: Event) -> None:
    assert json.loads(json.dumps(event_encoding.to_builtins(event))) == json.loads(event_encoding.encode(event))


def test_a_verdict_on_the_wire_has_the_fields_that_the_contract_names() -> None:
    plain = json.loads(event_encoding.encode(events()[1]))
    assert plain["type"] == "verdict"
    assert plain["v"] == 1
    assert set(plain) == {
        "type", "v", "id", "stream", "epoch", "sequence", "start_s", "end_s", "samples", "wanted", "coverage",
        "rate_hz", "label", "reason", "prob_fake", "llr", "faces", "frames", "age_ms", "model",
        "alarm", "decision",
    }
    assert set(plain["faces"][0]) == {
        "track", "box", "label", "reason", "samples", "prob_fake", "llr", "frequency_score", "quality",
        "suspicion", "alarm",
    }


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        event_encoding.decode(b'{"type":"rumour","stream":"a"}')
