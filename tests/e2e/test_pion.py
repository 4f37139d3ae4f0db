"""Calls published by Pion, which offers VP8 first whatever it sends, and calls whose RTP time or numbering breaks."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest
from pydantic import SecretStr

from stream.event_bus import Selection
from stream.events import StreamEnded, StreamGap, Verdict
from tests.api.rig import Rig, running_rig
from tests.e2e.peers import pion_publisher
from tests.e2e.whip_support import wait_for

if TYPE_CHECKING:
    import httpx

    from stream.events import Event

pytestmark = pytest.mark.timeout(300)

KEY = "key-of-the-pion-publishers"
SECONDS, BREAK_S = 14.0, 5.0
OPTIONS = {
    "h264": ("h264",), "vp8": ("vp8",), "h264-time": ("h264", "-jump", "time"), "vp8-time": ("vp8", "-jump", "time"),
    "h264-sequence": ("h264", "-jump", "sequence"), "vp8-sequence": ("vp8", "-jump", "sequence"),
}


class Published(NamedTuple):
    """All events of one call, and what its publisher wrote."""

    events: list[Event]
    output: str

    @property
    def verdicts(self) -> list[Verdict]:
        return [event for event in self.events if isinstance(event, Verdict)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Published]:
    """Two calls at a time, so that a machine with two cores is not the reason for a gap."""
    pion_publisher.build()
    videos = pion_publisher.recordings(tmp_path_factory.mktemp("pion"), SECONDS)
    found: dict[str, Published] = {}
    with running_rig(api_keys=(SecretStr(KEY),)) as rig, rig.client(KEY) as client:
        names = list(OPTIONS)
        for at in range(0, len(names), 2):
            found |= _publish(rig, client, {
                name: pion_publisher.command(f"{rig.url}/whip/{name}", KEY, videos[OPTIONS[name][0]],
                                             *OPTIONS[name][1:], "-after", str(BREAK_S))
                for name in names[at : at + 2]
            })  # fmt: skip
    return found


def _publish(rig: Rig, client: httpx.Client, commands: dict[str, list[str]]) -> dict[str, Published]:
    subscription = rig.call(rig.context.bus.subscribe, Selection(frozenset(commands)))
    processes = {
        name: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, command in commands.items()
    }
    outputs = {}
    for name, process in processes.items():
        outputs[name], _ = process.communicate(timeout=90)
        assert process.returncode == 0, outputs[name]
        wait_for(client, name, lambda info: info["state"] == "ended")
    events: dict[str, list[Event]] = {name: [] for name in commands}
    while not all(seen and isinstance(seen[-1], StreamEnded) for seen in events.values()):
        event = rig.run(subscription.next()).event
        events[event.stream].append(event)
    return {name: Published(events[name], outputs[name]) for name in commands}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_call_of_pion_is_judged_to_its_end(published: dict[str, Published], name: str) -> None:
    call = published[name]
    verdicts = call.verdicts
    assert verdicts, call.output
    assert verdicts[-1].end_s == pytest.approx(SECONDS, abs=2)
    assert [verdict.sequence for verdict in verdicts] == sorted({verdict.sequence for verdict in verdicts})
    judged = [verdict for verdict in verdicts if verdict.faces and verdict.faces[0].prob_fake is not None]
    assert len(judged) >= 6
    assert judged[-1].coverage > 0.8


@pytest.mark.parametrize("name", [name for name in OPTIONS if "-" in name])
def test_a_break_costs_at_most_one_gap_and_a_second(published: dict[str, Published], name: str) -> None:
    call = published[name]
    gaps = [event for event in call.events if isinstance(event, StreamGap)]
    assert len(gaps) <= 1
    around = [verdict.coverage for verdict in call.verdicts if BREAK_S < verdict.end_s < BREAK_S + 4]
    assert min(around, default=0.0) >= 0.6, around
