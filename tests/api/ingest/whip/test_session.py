"""One publisher from offer to end: frames, key frames, loss, and every way to end."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import httpx
import pytest
from aiortc import RTCSessionDescription

from api.ingest.whip.config import WhipConfig
from stream.errors import ServiceFull
from stream.identity import StreamIdentity
from stream.stream_session import StreamSpec
from stream.types import Codec, DropCause, EndReason
from tests.api.guards import loop_never_blocked, nothing_left
from tests.api.offers import BROWSER, an_offer
from tests.api.publisher import Publisher, publishing
from tests.api.whip_rig import Rig, until, whip_rig, whip_sessions_of
from tests.machine import queued_s

if TYPE_CHECKING:
    from aiortc.rtp import RtpPacket


async def test_the_stream_opens_with_the_first_frame_and_not_before() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call?call_id=c&participant_id=p", audio=True):
        assert rig.service.sessions == []
        session = await rig.service.first()
        assert session.spec == StreamSpec(
            identity=StreamIdentity("call", "c", "p"), source="whip", codec=Codec.VP8, sample=False
        )
        await until(lambda: len(session.units) > 30)
        assert session.units[0].keyframe
        steps = [b.pts_s - a.pts_s for a, b in pairwise(session.units)]
        assert steps == pytest.approx([1 / 30] * len(steps), abs=1e-4)
        assert session.units[0].pts_s == 0
        assert 0 <= time.time() - session.units[-1].capture_s < 5


async def test_call_and_participant_come_from_path_query_or_header() -> None:
    async with whip_rig() as rig, httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as client:
        for path, headers, stream, named in (
            ("/v1/calls/room/participants/ann/whip", {}, "room.ann", ("room", "ann")),
            ("/whip/a?call_id=room&participant_id=ann", {}, "a", ("room", "ann")),
            ("/whip/b", {"DeepGuard-Call-Id": "room", "DeepGuard-Participant-Id": "ann"}, "b", ("room", "ann")),
            ("/whip/c?call_id=room", {"DeepGuard-Call-Id": "other"}, "c", ("room", "")),
        ):
            answer = await client.post(path, content=BROWSER, headers={"Content-Type": "application/sdp", **headers})
            assert answer.status_code == 201, answer.text
            identity = rig.session(stream).identity
            assert (identity.call_id, identity.participant_id) == named
            assert (await client.delete(answer.headers["location"])).status_code == 200
        bad = {"Content-Type": "application/sdp", "DeepGuard-Call-Id": "<b>"}
        assert (await client.post("/whip/d", content=BROWSER, headers=bad)).status_code == 422


@pytest.mark.parametrize("mime_type", ["video/VP8", "video/H264"])
async def test_delete_ends_the_call_and_leaves_nothing(mime_type: str) -> None:
    async with whip_rig() as rig:
        await call_and_delete(rig, mime_type)       # what libraries keep for good is there then
        async with nothing_left(), loop_never_blocked():
            await call_and_delete(rig, mime_type)
        assert rig.sessions.status.sessions == 0


async def call_and_delete(rig: Rig, mime_type: str) -> None:
    async with publishing(f"{rig.url}/whip/call", mime_type=mime_type) as call:
        session = await rig.service.first()
        assert (await call.delete()).status_code == 200
        assert session.ended is EndReason.PUBLISHER_LEFT
        assert (await call.delete()).status_code == 404
    rig.service.sessions.clear()


async def test_a_publisher_that_disconnects_has_left() -> None:
    async with whip_rig() as rig:
        async with publishing(f"{rig.url}/whip/call"):
            session = await rig.service.first()
        await until(lambda: session.ended is not None)
        assert session.ended is EndReason.PUBLISHER_LEFT
        await until(lambda: rig.sessions.status.sessions == 0)


async def test_a_publisher_that_sends_rtcp_bye_has_left() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call") as call:
        session = await rig.service.first()
        await call.sender.stop()        # sends BYE; the connection stays
        await until(lambda: session.ended is not None)
        assert session.ended is EndReason.PUBLISHER_LEFT


async def test_a_publisher_that_falls_silent_is_ended() -> None:
    async with whip_rig(WhipConfig(silence_s=1.0)) as rig, publishing(f"{rig.url}/whip/call") as call:
        session = await rig.service.first()
        call.lose = lambda _: True
        silent_s = time.monotonic()
        await until(lambda: session.ended is not None)
        assert session.ended is EndReason.SILENT
        assert time.monotonic() - silent_s < 8
        await until(lambda: call.connection.connectionState == "closed")


async def test_a_connection_without_frames_ends_and_opens_no_stream() -> None:
    async with whip_rig(WhipConfig(silence_s=1.0)) as rig:
        call = Publisher(f"{rig.url}/whip/call")
        call.lose = lambda _: True
        await call.publish()
        await until(lambda: rig.sessions.status.pending == 0)
        await until(lambda: rig.sessions.status.sessions == 0)
        assert rig.service.sessions == []
        await call.connection.close()


async def test_a_wrong_fingerprint_never_connects() -> None:
    async with whip_rig() as rig:
        call = Publisher(f"{rig.url}/whip/call")
        text = await call.offer()
        line = next(line for line in text.splitlines() if line.startswith("a=fingerprint:sha-256"))
        wrong = line[:-2] + ("00" if line[-2:] != "00" else "01")
        answer = await rig.sessions.offer(an_offer("call", text.replace(line, wrong)))
        await call.connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        await until(lambda: rig.sessions.status.sessions == 0)
        assert rig.service.sessions == []
        await call.connection.close()


async def test_the_service_can_end_a_session() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call") as call:
        session = await rig.service.first()
        async with loop_never_blocked():
            await rig.service.stop("call", EndReason.STOPPED)
        assert session.ended is EndReason.STOPPED
        assert rig.sessions.status.sessions == 0
        await until(lambda: call.connection.connectionState == "closed")


async def test_a_session_is_closed_when_the_service_refuses_its_stream() -> None:
    async with whip_rig() as rig:
        rig.service.refusal = ServiceFull("full", 5)
        async with publishing(f"{rig.url}/whip/call") as call:
            await until(lambda: call.connection.connectionState == "closed")
        assert rig.service.sessions == []
        assert rig.sessions.status.sessions == 0


async def test_a_key_frame_comes_when_the_service_asks_for_one() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call"):
        session = await rig.service.first()
        await until(lambda: len(session.units) > 45)        # the bitrate has settled, which takes a key frame
        asked_at = len(session.units)
        assert not any(unit.keyframe for unit in session.units[30:])
        session.control.request_keyframe()
        session.control.request_keyframe()
        await until(lambda: len(session.units) > asked_at + 30)
        assert sum(unit.keyframe for unit in session.units[asked_at:]) == 1


async def test_retransmissions_repair_packets_lost_once() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call") as call:
        session = await rig.service.first()
        seen: set[int] = set()

        def first_time_of_every_tenth(packet: RtpPacket) -> bool:
            number = packet.sequence_number
            if number % 10 or number in seen or packet.payload_type != 97:      # 98 are retransmissions
                return False
            seen.add(number)
            return True

        call.lose = first_time_of_every_tenth
        await until(lambda: len(seen) >= 6 and len(session.units) > 90)
        units = session.units[:90]
        assert [unit.pts_s for unit in units] == pytest.approx([n / 30 for n in range(90)], abs=1e-4)
        assert session.gaps == []


async def test_after_a_permanent_loss_the_call_continues_from_a_key_frame() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call") as call:
        session = await rig.service.first()
        await until(lambda: len(session.units) > 20)
        cut = call.track.number
        doomed: set[int] = set()

        def frames_of_now(packet: RtpPacket) -> bool:
            if call.track.number < cut + 5:
                doomed.add(packet.timestamp)
            return packet.timestamp in doomed       # whenever it is sent again

        call.lose = frames_of_now
        await until(lambda: bool(session.gaps))
        lost_s, queued_before_s = time.monotonic(), queued_s()
        known = len(session.units)
        await until(lambda: len(session.units) > known)
        assert time.monotonic() - lost_s - (queued_s() - queued_before_s) < 1.5
        assert session.gaps == [DropCause.PACKET_LOSS]
        assert session.units[known].keyframe
        assert session.ended is None


async def test_the_answer_is_complete_and_receives_only() -> None:
    async with whip_sessions_of() as sessions:
        lines = (await sessions.offer(an_offer(sdp=BROWSER))).sdp.splitlines()
    assert lines.count("a=recvonly") == 2
    assert lines.count("a=rtcp-mux") == 2
    assert lines.count("a=setup:active") == 2
    assert "a=end-of-candidates" in lines
    assert "a=group:BUNDLE 0 1" in lines
    video = [line for line in lines if line.startswith("m=")][1]
    assert video.split()[2:] == ["UDP/TLS/RTP/SAVPF", "96", "97", "102", "103"]
    assert not [line for line in lines if line.startswith(("a=ssrc", "a=msid"))]
