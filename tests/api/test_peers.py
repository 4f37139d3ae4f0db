"""Publishers from offer to end: every way to end, nothing left behind, nothing blocked, and aiortc's private parts."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.metadata
import inspect
import threading
import time
from contextlib import asynccontextmanager
from operator import gt
from typing import TYPE_CHECKING, NamedTuple

import aioice.ice
import psutil
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtcrtpreceiver import RTCRtpReceiver, decoder_worker

from api import rtc_hardening
from api.auth import Caller
from api.errors import Busy, NotFound, OfferRefused
from api.peer import Offer
from api.peers import Peers, PeersConfig
from stream.errors import ServiceDraining, ServiceFull, StreamExists
from stream.types import Codec, DropCause, EndReason
from tests.api.offers import BROWSER, BROWSER_VIDEO_ONLY
from tests.api.publisher import Publisher, publishing
from tests.api.whip_rig import CollectingService, Rig, until, whip_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiortc.rtp import RtpPacket

CALLER = Caller("127.0.0.1", "")


class Resources(NamedTuple):
    fds: int
    threads: int
    tasks: int
    connections: int


def resources() -> Resources:
    gc.collect()
    connections = sum(isinstance(thing, RTCPeerConnection) for thing in gc.get_objects())
    return Resources(psutil.Process().num_fds(), threading.active_count(), len(asyncio.all_tasks()), connections)


@asynccontextmanager
async def nothing_left(settle_s: float = 5.0) -> AsyncIterator[None]:
    """What happens inside leaves no descriptor, thread, task or connection, a few seconds later at most."""
    before = resources()
    yield
    end_s = time.monotonic() + settle_s
    while any(map(gt, after := resources(), before)) and time.monotonic() < end_s:
        await asyncio.sleep(0.05)
    assert not any(map(gt, after, before)), f"{before} became {after}"


@asynccontextmanager
async def loop_never_blocked(limit_s: float = 0.25) -> AsyncIterator[None]:
    """The event loop comes round at least every `limit_s`."""
    worst_s = 0.0

    async def watch() -> None:
        nonlocal worst_s
        while True:
            asked_s = time.monotonic()
            await asyncio.sleep(0.01)
            worst_s = max(worst_s, time.monotonic() - asked_s - 0.01)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
    assert worst_s < limit_s


def offer(stream: str = "call", sdp: str = BROWSER_VIDEO_ONLY, caller: Caller = CALLER) -> Offer:
    return Offer(stream, sdp, caller)


async def test_the_stream_opens_with_the_first_frame_and_not_before() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call?call_id=c&participant_id=p", audio=True):
        assert rig.service.sessions == []
        session = await rig.service.first()
        assert (session.spec.stream, session.spec.source, session.spec.codec) == ("call", "whip", Codec.VP8)
        assert (session.spec.call_id, session.spec.participant_id, session.spec.sample) == ("c", "p", False)
        await until(lambda: len(session.units) > 30)
        assert session.units[0].keyframe
        steps = [b.pts_s - a.pts_s for a, b in zip(session.units, session.units[1:], strict=False)]
        assert steps == pytest.approx([1 / 30] * len(steps), abs=1e-4)
        assert session.units[0].pts_s == 0
        assert 0 <= time.time() - session.units[-1].capture_s < 1


@pytest.mark.parametrize("mime_type", ["video/VP8", "video/H264"])
async def test_delete_ends_the_call_and_leaves_nothing(mime_type: str) -> None:
    async with whip_rig() as rig:
        await call_and_delete(rig, mime_type)       # what libraries keep for good is there then
        async with nothing_left(), loop_never_blocked():
            await call_and_delete(rig, mime_type)
        assert rig.peers.status.sessions == 0


async def call_and_delete(rig: Rig, mime_type: str) -> None:
    async with publishing(f"{rig.url}/whip/call", mime_type=mime_type) as call:
        session = await rig.service.first()
        assert (await call.delete()).status_code == 200
        assert session.ended is EndReason.PUBLISHER_LEFT
        assert (await call.delete()).status_code == 404
    rig.service.sessions.clear()


async def test_a_publisher_that_hangs_up_by_itself_has_left() -> None:
    async with whip_rig() as rig:
        async with publishing(f"{rig.url}/whip/call"):
            session = await rig.service.first()
        await until(lambda: session.ended is not None, 3)
        assert session.ended is EndReason.PUBLISHER_LEFT
        await until(lambda: rig.peers.status.sessions == 0, 3)


async def test_a_publisher_that_says_goodbye_by_rtcp_has_left() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call") as call:
        session = await rig.service.first()
        await call.sender.stop()        # sends BYE; the connection stays
        await until(lambda: session.ended is not None, 3)
        assert session.ended is EndReason.PUBLISHER_LEFT


async def test_a_publisher_that_falls_silent_is_ended() -> None:
    async with whip_rig(PeersConfig(silence_s=1.0)) as rig, publishing(f"{rig.url}/whip/call") as call:
        session = await rig.service.first()
        call.lose = lambda _: True
        silent_s = time.monotonic()
        await until(lambda: session.ended is not None, 5)
        assert session.ended is EndReason.SILENT
        assert time.monotonic() - silent_s < 3
        await until(lambda: call.connection.connectionState == "closed", 3)


async def test_a_connection_that_never_brings_a_frame_is_ended_and_was_never_a_call() -> None:
    async with whip_rig(PeersConfig(silence_s=1.0)) as rig:
        call = Publisher(f"{rig.url}/whip/call")
        call.lose = lambda _: True
        await call.publish()
        await until(lambda: rig.peers.status.pending == 0)
        await until(lambda: rig.peers.status.sessions == 0, 5)
        assert rig.service.sessions == []
        await call.connection.close()


async def test_offers_that_never_connect_go_away_with_all_they_held() -> None:
    service = CollectingService()
    peers = Peers(PeersConfig(connect_s=1.0), service)
    await peers.offer(offer("warm"))
    await until(lambda: peers.status.sessions == 0)
    async with nothing_left(), loop_never_blocked():
        for number in range(30):
            await peers.offer(offer(f"dead-{number}", BROWSER))
        assert peers.status == (30, 30)
        assert resources().fds > 30
        await until(lambda: peers.status.sessions == 0, 5)
    assert service.sessions == []
    await peers.close()


async def test_a_wrong_fingerprint_never_connects() -> None:
    async with whip_rig() as rig:
        call = Publisher(f"{rig.url}/whip/call")
        text = await call.offer()
        line = next(line for line in text.splitlines() if line.startswith("a=fingerprint:sha-256"))
        wrong = line[:-2] + ("00" if line[-2:] != "00" else "01")
        answer = await rig.peers.offer(offer("call", text.replace(line, wrong)))
        await call.connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        await until(lambda: rig.peers.status.sessions == 0, 10)
        assert rig.service.sessions == []
        await call.connection.close()


async def test_the_service_can_hang_up() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call") as call:
        session = await rig.service.first()
        async with loop_never_blocked():
            await rig.service.stop("call", EndReason.STOPPED)
        assert session.ended is EndReason.STOPPED
        assert rig.peers.status.sessions == 0
        await until(lambda: call.connection.connectionState == "closed", 3)


async def test_closing_ends_every_call_and_takes_no_more() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call"):
        session = await rig.service.first()
        await rig.peers.offer(offer("pending"))
        async with loop_never_blocked():
            await rig.peers.close()
        assert session.ended is EndReason.SHUTDOWN
        assert rig.peers.status == (0, 0)
        with pytest.raises(ServiceDraining):
            await rig.peers.offer(offer("late"))
        await rig.peers.close()


async def test_a_call_that_the_service_has_no_room_for_is_hung_up() -> None:
    async with whip_rig() as rig:
        rig.service.refusal = ServiceFull("full", 5)
        async with publishing(f"{rig.url}/whip/call") as call:
            await until(lambda: call.connection.connectionState == "closed", 10)
        assert rig.service.sessions == []
        assert rig.peers.status.sessions == 0


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


async def test_packets_that_are_lost_once_are_sent_again_and_nothing_is_missing() -> None:
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


async def test_after_a_loss_for_good_the_call_goes_on_from_a_new_key_frame() -> None:
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
        await until(lambda: bool(session.gaps), 5)
        lost_s = time.monotonic()
        known = len(session.units)
        await until(lambda: len(session.units) > known, 5)
        assert time.monotonic() - lost_s < 1.5
        assert session.gaps == [DropCause.PACKET_LOSS]
        assert session.units[known].keyframe
        assert session.ended is None


async def test_a_stream_has_one_publisher() -> None:
    peers = Peers(PeersConfig(), CollectingService())
    answer = await peers.offer(offer())
    with pytest.raises(StreamExists):
        await peers.offer(offer())
    await peers.hang_up("call", answer.session_id, "")
    await peers.offer(offer())
    await peers.close()


async def test_sessions_are_capped_in_total_by_caller_and_while_they_connect() -> None:
    peers = Peers(PeersConfig(max_sessions=3, max_sessions_per_caller=2, max_pending=64), CollectingService())
    other = Caller("key-2", "key-2")
    await peers.offer(offer("a"))
    await peers.offer(offer("b"))
    with pytest.raises(Busy, match="limit of sessions"):
        await peers.offer(offer("c"))
    await peers.offer(offer("c", caller=other))
    with pytest.raises(Busy) as refused:
        await peers.offer(offer("d", caller=other))
    assert refused.value.status == 503
    assert refused.value.retry_after_s is not None
    await peers.close()
    peers = Peers(PeersConfig(max_pending=1), CollectingService())
    await peers.offer(offer("a"))
    with pytest.raises(Busy, match="connecting"):
        await peers.offer(offer("b"))
    await peers.close()


async def test_a_session_belongs_to_its_tenant() -> None:
    peers = Peers(PeersConfig(), CollectingService())
    owner = Caller("key-1", "key-1")
    answer = await peers.offer(offer(caller=owner))
    for stream, session_id, tenant in (
        ("call", answer.session_id, "key-2"), ("call", "guess", "key-1"), ("other", answer.session_id, "key-1"),
    ):
        with pytest.raises(NotFound):
            await peers.hang_up(stream, session_id, tenant)
    await peers.hang_up("call", answer.session_id, "key-1")
    await peers.close()


async def test_session_names_cannot_be_guessed() -> None:
    peers = Peers(PeersConfig(), CollectingService())
    names = {(await peers.offer(offer(str(n)))).session_id for n in range(10)}
    assert len(names) == 10
    assert min(map(len, names)) >= 22       # 128 bits
    await peers.close()


async def test_a_refused_offer_leaves_nothing_and_does_not_take_the_name() -> None:
    peers = Peers(PeersConfig(), CollectingService())
    async with nothing_left():
        for _ in range(5):
            with pytest.raises(OfferRefused):
                await peers.offer(offer(sdp="hello"))
        assert peers.status == (0, 0)
    await peers.offer(offer())
    await peers.close()


async def test_an_offer_that_is_cancelled_leaves_nothing() -> None:
    peers = Peers(PeersConfig(), CollectingService())
    async with nothing_left():
        task = asyncio.create_task(peers.offer(offer()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        del task        # its exception holds the connection
        await until(lambda: peers.status.sessions == 0, 3)
    await peers.close()


async def test_no_decoder_runs_during_a_call() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call", audio=True):
        await rig.service.first()
        assert not [thread.name for thread in threading.enumerate() if "decoder" in thread.name]


async def test_the_answer_offers_loopback_only_where_it_is_wanted() -> None:
    for wanted in (True, False):
        peers = Peers(PeersConfig(loopback=wanted), CollectingService())
        answer = await peers.offer(offer())
        candidates = [line for line in answer.sdp.splitlines() if line.startswith("a=candidate:")]
        assert any(" 127.0.0.1 " in line for line in candidates) is wanted
        await peers.close()


async def test_the_answer_is_complete_and_only_receives() -> None:
    peers = Peers(PeersConfig(), CollectingService())
    lines = (await peers.offer(offer(sdp=BROWSER))).sdp.splitlines()
    await peers.close()
    assert lines.count("a=recvonly") == 2
    assert lines.count("a=rtcp-mux") == 2
    assert lines.count("a=setup:active") == 2
    assert "a=end-of-candidates" in lines
    assert "a=group:BUNDLE 0 1" in lines
    assert [line for line in lines if line.startswith("m=")][1].split()[2:] == ["UDP/TLS/RTP/SAVPF", "96", "97"]
    assert not [line for line in lines if line.startswith(("a=ssrc", "a=msid"))]


def test_the_private_parts_of_the_libraries_are_where_they_were() -> None:
    assert importlib.metadata.version("aiortc").startswith("1.16.")
    source = inspect.getsource(RTCRtpReceiver)
    for place, names in rtc_hardening.PRIVATE_PARTS.items():
        for name in names:
            plain = name.replace("_RTCRtpReceiver__", "self.__")
            if place.endswith("RTCRtpReceiver"):
                assert f"{plain} = " in source or f"{plain}: " in source or hasattr(RTCRtpReceiver, name), name
            else:
                assert hasattr(importlib.import_module(place), name), name
    assert aioice.ice.get_host_addresses is rtc_hardening._host_addresses
    assert "get_host_addresses(" in inspect.getsource(aioice.ice.Connection.gather_candidates)


def test_aiortc_calls_what_we_put_in_its_place_as_it_did() -> None:
    assert list(inspect.signature(JitterBuffer.add).parameters) == ["self", "packet"]
    assert set(inspect.signature(RemoteBitrateEstimator.add).parameters) == {
        "self", "abs_send_time", "arrival_time_ms", "payload_size", "ssrc"
    }
    source = inspect.getsource(RTCRtpReceiver._handle_rtp_packet)
    assert "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)" in source
    assert "packet._data = " in source
    assert "if not self._enabled:" in source
    assert "pack_remb_fci(*remb)" in source
    worker = inspect.getsource(decoder_worker)
    assert worker.index("if task is None:") < worker.index("get_decoder(codec)")
    assert "input_q.get()" in worker
