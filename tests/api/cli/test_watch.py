from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from api.cli.watch import line_of
from stream import event_encoding
from stream.events import (
    IncidentClosed,
    IncidentOpened,
    Label,
    Reason,
    StreamEnded,
    StreamGap,
    StreamStalled,
)
from stream.types import CloseReason, EndReason, FrameCounts
from tests.api.calls import said, started
from tests.api.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.events import Event
    from tests.api.rig import Rig

OPENED = IncidentOpened(
    id="i-1", stream="w", epoch=1, verdict="w/1/9", opened_s=0.0, pts_s=9.5, tracks=(2, 0), prob_fake=0.9,
    suspicion=1.0, model=None, rules_sha256="", source="test",
)
CLOSED = IncidentClosed(
    id="i-1", stream="w", epoch=1, reason=CloseReason.ALARM_OVER, opened_s=0.0, closed_s=3.0, pts_s=12.5
)
ENDED = StreamEnded(stream="w", epoch=1, reason=EndReason.FAILED, message="no picture", frames=FrameCounts())


def publish(rig: Rig, *events: Event) -> None:
    for event in events:
        rig.call(rig.context.bus.publish, event)


@contextmanager
def watching(*arguments: str, key: str = "") -> Iterator[subprocess.Popen[str]]:
    """Runs the command; yields after it reports the connection."""
    command = [sys.executable, "-m", "api.cli", "watch", *arguments]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            if key:
                print(key, file=process.stdin, flush=True)
            assert process.stderr.readline() == "0 running\n"
            yield process
        finally:
            process.kill()


def test_events_are_lines() -> None:
    fake = msgspec.structs.replace(said("w", 2, Label.FAKE, Reason.EVIDENCE_FAKE), alarm=True, prob_fake=0.987)
    lines = [line_of(event) for event in (
        started("w", call_id="room"), fake, msgspec.structs.replace(said("w", 3), prob_fake=None),
        StreamGap(stream="w", epoch=1, cause="packet_loss", from_s=7.25),
        StreamStalled(stream="w", epoch=1, silent_s=5.2, from_s=8.0), OPENED, CLOSED, ENDED,
    )]
    assert lines == [
        "     0.0 s  w  started (test, call room)",
        ("     4.0 s  w  FAKE      0.987  a face reached the alarm level  ALARM"
         "  (100% of the media examined)"),
        "     4.0 s  w  UNCERTAIN        the evidence points neither way  (100% of the media examined)",
        "     7.2 s  w  media is missing from here on (packet_loss)",
        "     8.0 s  w  nothing has come for 5 s",
        "     9.5 s  w  ALARM: incident i-1 opened (face 2, 0)",
        "    12.5 s  w  incident i-1 closed (alarm_over)",
        "            w  ended (failed: no picture)",
    ]


@pytest.mark.slow
def test_programs_get_the_events_of_what_they_asked_for(rig: Rig) -> None:
    wish = ("--json", "--call", "watched", "--label", "FAKE")
    events = [started("w", call_id="watched"), said("w", 2, Label.FAKE, Reason.EVIDENCE_FAKE), said("w", 3), ENDED]
    with watching(rig.url, *wish) as process:
        publish(rig, started("x"), events[0], said("w", 1), *events[1:3], said("w", 4), events[3])
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in events]
        publish(rig, msgspec.structs.replace(ENDED, stream="x"))
    assert [json.loads(line) for line in lines] == [json.loads(event_encoding.encode(event)) for event in events]


@pytest.mark.slow
def test_a_key_comes_on_standard_input(keyed_rig: Rig) -> None:
    with watching(keyed_rig.url, "--key-stdin", "--stream", "w", key=KEY) as process:
        publish(keyed_rig, started("w"), ENDED)
        assert process.stdout is not None
        assert "started" in process.stdout.readline()


def test_a_refusal_ends_it(keyed_rig: Rig) -> None:
    command = [sys.executable, "-m", "api.cli", "watch", keyed_rig.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (2, "")
    assert "closed by the service" in done.stderr
