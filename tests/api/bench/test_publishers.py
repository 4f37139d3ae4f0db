"""Many calls out of one process, against a real WHIP endpoint."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from api.bench.processes import Publishers
from api.errors import BenchFailed
from api.ingest.whip.config import WhipConfig
from stream.errors import ServiceFull
from stream.types import EndReason
from tests.api.clients.test_whip import make_clip
from tests.api.whip_rig import until, whip_rig

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


CLIP_GOP = 15


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.webm", "libvpx", deadline="realtime", **{"lag-in-frames": "0"})


async def test_every_call_is_published_and_every_frame_is_timed(clip: Path) -> None:
    publishers = Publishers()
    async with whip_rig() as rig:
        began_s = time.monotonic()
        await publishers.start(f"{rig.url}/whip", clip, "call-", 3)
        await until(lambda: len(rig.service.sessions) == 3 and all(len(s.units) > 30 for s in rig.service.sessions), 40)
        assert set(publishers.sending) == {"call-0", "call-1", "call-2"}
        await publishers.stop()
        ended_s = time.monotonic()
        sessions = {session.spec.stream: session for session in rig.service.sessions}
    assert not publishers.lost
    for stream, session in sessions.items():
        sent = publishers.sent[stream]
        assert session.ended is EndReason.PUBLISHER_LEFT
        assert len(session.units) <= len(sent.sent_s)
        assert session.units[0].keyframe
        assert began_s < sent.sent_s[0] == pytest.approx(publishers.sending[stream], abs=1e-3)
        assert sent.sent_s == sorted(sent.sent_s)
        assert sent.sent_s[-1] < ended_s
        assert sent.sent_s[30] - sent.sent_s[0] == pytest.approx(1.0, abs=0.3)
        assert sent.payload_bytes >= sum(len(unit.payload) for unit in session.units)


async def test_a_requested_key_frame_is_sent_at_once(clip: Path) -> None:
    publishers = Publishers()
    async with whip_rig() as rig:
        await publishers.start(f"{rig.url}/whip", clip, "call-", 1)
        session = await rig.service.first(40)
        await until(lambda: len(session.units) > 20, 40)
        assert session.control is not None
        for asked in range(3):
            session.control.request_keyframe()
            before = len(session.units)
            await until(lambda at_least=before + 25 + asked: len(session.units) > at_least, 20)     # type: ignore[misc]
            assert any(unit.keyframe for unit in session.units[before : before + 8])
        await publishers.stop()
    starts = [n for n, unit in enumerate(session.units) if unit.keyframe]
    apart = [later - earlier for earlier, later in pairwise(starts)]
    assert max(apart) <= CLIP_GOP
    assert min(apart) < CLIP_GOP, "one came out of turn"
    times = [unit.pts_s for unit in session.units]
    assert times == pytest.approx([n / 30 for n in range(len(times))], abs=2e-3)


async def test_a_call_that_there_is_no_room_for_is_offered_again(clip: Path) -> None:
    publishers = Publishers()
    async with whip_rig(WhipConfig(max_sessions=1)) as rig:
        await publishers.start(f"{rig.url}/whip", clip, "call-", 2)
        await until(lambda: len(publishers.refused) >= 2 and len(rig.service.sessions) == 1, 40)
        (first,) = rig.service.sessions
        assert {refused.stream for refused in publishers.refused} == {"call-0", "call-1"} - {first.spec.stream}
        assert all(0 < refused.answered_ms < 5000 for refused in publishers.refused)
        await rig.service.stop(first.spec.stream, EndReason.STOPPED)
        await until(lambda: len(rig.service.sessions) == 2, 40)
        await publishers.stop()
    assert "ended the call" in publishers.lost[first.spec.stream].message
    assert set(publishers.lost) == {first.spec.stream}
    assert set(publishers.sent) == {"call-0", "call-1"}


async def test_a_lost_call_is_reported_and_the_others_continue(clip: Path) -> None:
    publishers = Publishers()
    async with whip_rig() as rig:
        rig.service.refusal = ServiceFull("full", 5)        # when the first frame is there, too late for a 503
        await publishers.start(f"{rig.url}/whip", clip, "call-", 2)
        await until(lambda: len(publishers.lost) == 2, 40)
        await publishers.stop()
    assert all("ended the call" in lost.message for lost in publishers.lost.values())


async def test_publisher_crashes_are_reported(clip: Path) -> None:
    publishers = Publishers()
    await publishers.start("http://127.0.0.1:9/whip", clip.with_name("missing.webm"), "call-", 1)
    with pytest.raises(BenchFailed, match="status"):
        await publishers.stop()
