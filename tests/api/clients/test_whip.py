"""Publishing a file without decoding it: what is sent is what is in the file, at its pace."""

from __future__ import annotations

import asyncio
import signal
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from api.clients.whip import PublishOptions, load_clip, publish
from api.errors import PublishFailed
from api.ingest.whip.config import WhipConfig
from stream.types import Codec, EndReason
from tests.api.whip_rig import until, whip_rig

if TYPE_CHECKING:
    from typing import Any

SAMPLE = Path("api/demo_media/sample_call.mp4")
KEY = "a-key-of-twenty-chars"


def make_clip(path: Path, codec: str, frames: int = 30, **options: str) -> Path:
    """A moving square, 160 x 120, 30 frames/s."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.gop_size = 15
        for number in range(frames):
            picture = np.full((120, 160, 3), 60, np.uint8)
            picture[40:60, 4 * number % 140 : 4 * number % 140 + 20] = 220
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def h264(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", "libx264", bf="0", preset="ultrafast")


@pytest.fixture
def vp8(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.webm", "libvpx", deadline="realtime", **{"lag-in-frames": "0"})


def test_the_sample_call_can_be_published() -> None:
    clip = load_clip(SAMPLE)
    assert clip.codec == "h264"
    assert len(clip.packets) == 1350
    assert clip.duration_ticks == 45 * 90_000
    assert clip.packets[0][0] == 0
    assert all(data.startswith((b"\0\0\0\1", b"\0\0\1")) for _, data in clip.packets)
    assert SAMPLE.stat().st_size <= 3 * 10**6


@pytest.mark.parametrize(("name", "codec"), [("h264", Codec.H264), ("vp8", Codec.VP8)])
async def test_the_files_own_frames_arrive_and_loop(
    name: str, codec: Codec, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path: Path = request.getfixturevalue(name)
    clip = load_clip(path)
    async with whip_rig() as rig:
        stats = await publish(f"{rig.url}/whip/clip", path, PublishOptions(duration_s=2.5))
        session = rig.service.sessions[0]
    assert session.spec.codec is codec
    assert session.ended is EndReason.PUBLISHER_LEFT
    assert not session.spec.sample
    assert stats.ended_by == "duration"
    assert stats.loops == 2
    assert stats.connected_s < 5
    units = session.units
    assert 60 <= len(units) <= stats.frames
    media_s = [unit.pts_s for unit in units]        # WebM counts in milliseconds
    assert media_s == pytest.approx([n / 30 for n in range(len(units))], abs=5e-3)
    assert [nal_bodies(unit.payload) for unit in units[:45]] == [
        nal_bodies(clip.packets[n % 30][1]) for n in range(45)
    ]
    assert [unit.keyframe for unit in units[:45]] == [n % 15 == 0 for n in range(45)]


def nal_bodies(data: bytes) -> list[bytes]:
    """The same for start codes of three and four bytes."""
    return [part.rstrip(b"\0") for part in data.split(b"\0\0\1")]


async def test_a_sample_is_marked_and_a_key_is_sent(h264: Path) -> None:
    async with whip_rig(keys=(KEY,)) as rig:
        with pytest.raises(PublishFailed, match="401") as refused:
            await publish(f"{rig.url}/whip/clip", h264, PublishOptions(duration_s=1))
        refusal = refused.value.refusal
        assert refusal is not None
        assert (refusal.status, refusal.retry_after_s) == (401, None)
        assert 0 < refusal.answered_s < 5
        await publish(f"{rig.url}/whip/clip", h264, PublishOptions(duration_s=1, token=KEY, sample=True))
        assert rig.service.sessions[0].spec.sample


async def test_publishing_ends_when_the_server_closes(h264: Path) -> None:
    async with whip_rig() as rig:
        playing = asyncio.create_task(publish(f"{rig.url}/whip/clip", h264, PublishOptions()))
        await rig.service.first()
        await rig.service.stop("clip", EndReason.STOPPED)
        stats = await asyncio.wait_for(playing, 30)
    assert stats.ended_by == "server"


async def test_publishing_ends_when_stop_is_set(h264: Path) -> None:
    options = PublishOptions()
    async with whip_rig() as rig:
        playing = asyncio.create_task(publish(f"{rig.url}/whip/clip", h264, options))
        session = await rig.service.first()
        options.stop.set()
        assert (await asyncio.wait_for(playing, 30)).ended_by == "stop"
        assert session.ended is EndReason.PUBLISHER_LEFT


async def test_an_unreachable_server_is_an_error(h264: Path) -> None:
    with pytest.raises(PublishFailed, match="cannot be reached"):
        await publish("http://127.0.0.1:9/whip/clip", h264, PublishOptions(duration_s=1))


async def test_a_server_without_whip_is_an_error(h264: Path) -> None:
    async with whip_rig() as rig:
        with pytest.raises(PublishFailed, match="answered 404"):
            await publish(f"{rig.url}/elsewhere", h264, PublishOptions(duration_s=1))


def test_files_that_cannot_be_published_are_refused(tmp_path: Path) -> None:
    with_b_frames = make_clip(tmp_path / "b.mp4", "libx264", bf="2", preset="medium", tune="film")
    for path, why in (
        (with_b_frames, "B-frames"),
        (make_clip(tmp_path / "mpeg4.mp4", "mpeg4"), "mpeg4"),
        (Path(__file__), "cannot be read"),
        (make_clip(tmp_path / "one.mp4", "libx264", frames=1), "fewer than two"),
    ):
        with pytest.raises(PublishFailed, match=why):
            load_clip(path)


@pytest.mark.timeout(90)
async def test_the_command_publishes_from_its_own_process_until_it_is_interrupted() -> None:
    async with whip_rig() as rig:
        command = (sys.executable, "-m", "api.cli", "publish", str(SAMPLE), f"{rig.url}/whip/clip", "--sample")
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        session = await rig.service.first(30)
        process.send_signal(signal.SIGINT)
        _, told = await asyncio.wait_for(process.communicate(), 40)
        assert process.returncode == 0
        assert b"ended by stop" in told
        await until(lambda: session.ended is not None)
        assert session.ended is EndReason.PUBLISHER_LEFT


async def test_a_redirect_to_another_service_is_followed(h264: Path) -> None:
    async with whip_rig() as second, whip_rig(WhipConfig(max_sessions=0, overflow_url=second.url)) as first:
        stats = await publish(f"{first.url}/whip/clip", h264, PublishOptions(duration_s=1.0))
        assert stats.ended_by == "duration"
        assert first.service.sessions == []
        assert [session.spec.stream for session in second.service.sessions] == ["clip"]


@pytest.mark.parametrize("degrees", [90, 180, 270])
async def test_a_turned_file_is_published_with_its_orientation(tmp_path: Path, degrees: int) -> None:
    """The header extension for orientation is negotiated, sent, and handed on with every frame."""
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30, options={"bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, "yuv420p", 15
        stream.set_display_rotation(-degrees)
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 60, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    async with whip_rig() as rig:
        await publish(f"{rig.url}/whip/turned", path, PublishOptions(duration_s=1.5))
        (session,) = rig.service.sessions
    assert {unit.display.quarter_turns for unit in session.units} == {degrees // 90}
