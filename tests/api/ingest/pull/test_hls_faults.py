"""Faults of HLS servers: no failed request ends the source, nothing is judged twice, and every gap is told."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import pytest

from api.ingest.live_source import SourceState
from stream.identity import StreamIdentity
from stream.types import DropCause, EndReason
from tests.api.ingest.pull.hls_site import SEGMENT_S, hls_site
from tests.api.ingest.pull.support import SAMPLE, pulls_of
from tests.api.whip_rig import CollectingService, until

if TYPE_CHECKING:
    from pathlib import Path

    from api.ingest.live_source import SourceStatus
    from tests.api.ingest.pull.support import PullRig
    from tests.api.whip_rig import CollectingSession

pytestmark = pytest.mark.timeout(120)

FPS, FRAMES = 30, 15      # of a segment
SEGMENTS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`call.m3u8` over `call<n>.ts`, each of half a second with its own key frame; `short.m3u8` over the first six."""
    folder = tmp_path_factory.mktemp("hls")
    options = {"hls_time": str(SEGMENT_S), "hls_list_size": "0"}
    with (
        av.open(str(SAMPLE)) as clip, av.open(str(folder / "call.m3u8"), "w", format="hls", options=options) as out,
    ):
        stream: Any = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 320, 180, "yuv420p", FRAMES
        stream.codec_context.options = {"preset": "ultrafast", "x264-params": f"scenecut=0:keyint={FRAMES}"}
        for number, frame in enumerate(clip.decode(video=0)):
            if number == SEGMENTS * FRAMES:
                break
            small = frame.reformat(320, 180)
            small.pts, small.time_base, small.pict_type = number, Fraction(1, FPS), av.video.frame.PictureType.NONE
            out.mux(stream.encode(small))
        out.mux(stream.encode(None))
    lines = (folder / "call.m3u8").read_text().splitlines()
    kept = lines[: lines.index("call6.ts") - 1]
    (folder / "short.m3u8").write_text("\n".join([*kept, "#EXT-X-ENDLIST", ""]))
    return folder


async def ended(service: CollectingService) -> CollectingSession:
    await until(lambda: bool(service.sessions) and service.sessions[0].ended is not None, 60)
    [session] = service.sessions
    return session


def status_of(pulls: PullRig) -> SourceStatus:
    [status] = pulls.registry.list()
    return status


def times_of(session: CollectingSession) -> list[int]:
    """Returns the numbers of the frames, from the first on."""
    return [round((unit.pts_s - session.units[0].pts_s) * FPS) for unit in session.units]


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500])
async def test_a_recording_without_a_segment_is_played_once_to_its_end(folder: Path, status: int) -> None:
    """A 5xx is asked for again for eight seconds, the others are skipped at once."""
    service = CollectingService()
    async with hls_site(folder, SEGMENTS) as site, pulls_of(service) as pulls:
        site.status_of = lambda target: status if "call3.ts" in target else 200
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/short.m3u8")
        session = await ended(service)
    assert (session.ended, session.gaps) == (EndReason.END_OF_MEDIA, [DropCause.SOURCE_LOST])
    assert times_of(session) == [n for n in range(6 * FRAMES) if not 3 * FRAMES <= n < 4 * FRAMES]
    assert site.asked.count("/short.m3u8") == 1, "the source was opened once"


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_a_segment_that_fails_for_a_moment_is_not_lost(folder: Path, status: int) -> None:
    service = CollectingService()
    async with hls_site(folder, SEGMENTS) as site, pulls_of(service) as pulls:
        site.status_of = lambda target: status if "call3.ts" in target and site.asked.count(target) < 3 else 200
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/short.m3u8")
        session = await ended(service)
    assert (session.ended, session.gaps) == (EndReason.END_OF_MEDIA, [])
    assert times_of(session) == list(range(6 * FRAMES))


async def test_a_server_that_is_away_for_four_seconds_costs_a_recording_nothing(folder: Path) -> None:
    service = CollectingService()
    async with hls_site(folder, SEGMENTS) as site, pulls_of(service) as pulls:
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/short.m3u8")
        await until(lambda: bool(service.sessions))
        await site.stop()
        await asyncio.sleep(4)
        await site.start()
        session = await ended(service)
    assert session.ended is EndReason.END_OF_MEDIA
    assert times_of(session) == list(range(6 * FRAMES))


async def test_a_recording_of_which_all_is_missing_fails_with_the_cause(folder: Path) -> None:
    service = CollectingService()
    async with hls_site(folder, SEGMENTS) as site, pulls_of(service) as pulls:
        site.status_of = lambda target: 404 if ".ts" in target else 200
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/short.m3u8")
        await until(lambda: not len(pulls.registry) or status_of(pulls).problem is not None)
        await until(lambda: not len(pulls.registry) or status_of(pulls).state is SourceState.FAILED)
    assert service.sessions == []


@pytest.mark.parametrize("status", [401, 404])
async def test_a_live_call_goes_on_after_a_segment_that_is_not_there(folder: Path, status: int) -> None:
    """Such as the placeholder of a low-latency gap."""
    service = CollectingService()
    async with hls_site(folder, SEGMENTS) as site, pulls_of(service) as pulls:
        site.status_of = lambda target: status if "call5.ts" in target else 200
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/live.m3u8")
        await until(lambda: bool(service.sessions) and len(service.sessions[0].units) >= 8 * FRAMES)
        shown = status_of(pulls)
        assert (shown.state, shown.attempts) == (SourceState.RECEIVING, 1)
        assert shown.problem is not None
        assert shown.problem.code == ("unauthorized" if status == 401 else "not_found")
        assert service.sessions[0].gaps == [DropCause.SOURCE_LOST]
        assert service.sessions[0].ended is None


async def test_a_live_call_whose_token_expired_is_loaded_anew(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    service = CollectingService()
    valid = "?token=first-secret"

    def status(target: str) -> int:
        return 200 if ".ts" not in target or target.endswith(valid) else 403

    async with hls_site(folder, SEGMENTS) as site, pulls_of(service) as pulls:
        site.token, site.status_of = valid, status
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/live.m3u8?login=first-secret")
        await until(lambda: bool(service.sessions) and len(service.sessions[0].units) >= 4 * FRAMES)
        valid = "?token=second-secret"
        await until(lambda: status_of(pulls).state is SourceState.RETRYING)
        problem = status_of(pulls).problem
        assert problem is not None
        assert problem.code == "unauthorized"
        site.token = valid
        before = len(service.sessions[0].units)
        await until(lambda: len(service.sessions[0].units) > before + 2 * FRAMES)
        assert len(service.sessions) == 1
        assert service.sessions[0].ended is None
    out, err = capfd.readouterr()
    assert "secret" not in out + err


async def test_a_playlist_that_is_refused_after_it_worked_is_tried_again(folder: Path) -> None:
    service = CollectingService()
    refused = False
    async with hls_site(folder, SEGMENTS) as site, pulls_of(service) as pulls:
        site.status_of = lambda target: 403 if refused else 200
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/live.m3u8")
        await until(lambda: bool(service.sessions) and len(service.sessions[0].units) >= 2 * FRAMES)
        refused = True
        await until(lambda: status_of(pulls).state is SourceState.RETRYING and status_of(pulls).attempts >= 3, 30)
        refused = False
        before = len(service.sessions[0].units)
        await until(lambda: len(service.sessions[0].units) > before + FRAMES)
        assert len(service.sessions) == 1


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "unauthorized"), (400, "refused")])
async def test_a_playlist_that_is_refused_at_once_ends_with_its_code(folder: Path, status: int, code: str) -> None:
    service = CollectingService()
    async with hls_site(folder, SEGMENTS) as site, pulls_of(service) as pulls:
        site.status_of = lambda target: status
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/live.m3u8")
        await until(lambda: not len(pulls.registry) or status_of(pulls).state is SourceState.FAILED)
        if len(pulls.registry):
            problem = status_of(pulls).problem
            assert problem is not None
            assert problem.code == code
        assert len(site.asked) == 1
    assert service.sessions == []
