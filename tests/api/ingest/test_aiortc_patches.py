"""The private parts of aiortc and aioice that we rely on, and what we put in their place.

An upgrade that moves one of them has to fail here, and not in a call.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import threading
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import aioice.ice
import pytest
from aiortc import RTCSessionDescription
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpreceiver import RTCRtpReceiver, decoder_worker
from aiortc.rtcrtpsender import RTCRtpSender

from api.errors import Busy
from api.ingest import aiortc_patches
from api.ingest.whip.config import WhipConfig
from tests.api.offers import an_offer
from tests.api.publisher import Publisher, publishing
from tests.api.whip_rig import until, whip_rig, whip_sessions_of

if TYPE_CHECKING:
    from api.ingest.whip.sessions import WhipSessions


async def test_no_decoder_runs_during_a_call() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call", audio=True):
        await rig.service.first()
        assert not [thread.name for thread in threading.enumerate() if "decoder" in thread.name]


async def test_the_answer_offers_loopback_only_where_configured() -> None:
    for wanted in (True, False):
        async with whip_sessions_of(WhipConfig(loopback=wanted)) as sessions:
            answer = await sessions.offer(an_offer())
        candidates = [line for line in answer.sdp.splitlines() if line.startswith("a=candidate:")]
        assert any(" 127.0.0.1 " in line for line in candidates) is wanted


def test_all_patched_names_exist_in_the_libraries() -> None:
    assert importlib.metadata.version("aiortc").startswith("1.16.")
    for place, names in aiortc_patches.PRIVATE_PARTS.items():
        owner = resolve_name(place)
        source = inspect.getsource(owner)
        for name in names:
            plain = re.sub(r"^_[A-Za-z]+__", "__", name)       # as it is written inside of its class
            assert hasattr(owner, name) or re.search(rf"self\.{plain}\b(: .+)? = ", source), (place, name)
    assert aioice.ice.get_host_addresses is aiortc_patches._host_addresses
    gathering = inspect.getsource(aioice.ice.Connection.gather_candidates)
    assert "get_host_addresses(" in gathering
    assert "self.get_component_candidates(component=component, addresses=addresses)" in gathering
    assert "IndexError" not in inspect.getsource(RTCDtlsTransport)
    assert "first_byte = data[0]" in inspect.getsource(RTCDtlsTransport._recv_next)     # empty datagrams are fatal
    original = inspect.getsource(aiortc_patches._original_candidates)
    assert "lambda: StunProtocol(self), local_addr=(address, 0)" in original
    assert "self._protocols += host_protocols" in original


def test_patched_methods_keep_their_signatures() -> None:
    assert list(inspect.signature(JitterBuffer.add).parameters) == ["self", "packet"]
    assert set(inspect.signature(RemoteBitrateEstimator.add).parameters) == {
        "self", "abs_send_time", "arrival_time_ms", "payload_size", "ssrc"
    }
    source = inspect.getsource(RTCRtpReceiver._handle_rtp_packet)
    assert "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)" in source
    assert "packet._data = " in source
    assert "if not self._enabled:" in source
    assert "pack_remb_fci(*remb)" in source
    assert "self._send_keyframe()" in inspect.getsource(RTCRtpSender._handle_rtcp_packet)
    worker = inspect.getsource(decoder_worker)
    assert worker.index("if task is None:") < worker.index("get_decoder(codec)")
    assert "input_q.get()" in worker


def test_a_fixed_bitrate_is_reported_every_second() -> None:
    estimator = aiortc_patches._FixedBitrate()
    told = [
        estimator.add(abs_send_time=0, arrival_time_ms=ms, payload_size=1200, ssrc=7) for ms in range(0, 3000, 100)
    ]
    assert [n for n, remb in enumerate(told) if remb is not None] == [0, 10, 20]
    assert told[0] == (2_500_000, [7])


async def test_a_browser_is_allowed_full_quality_from_the_first_second() -> None:
    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call") as call:
        allowed = await call.allowed_bps()
    assert allowed == aiortc_patches.FIXED_BITRATE_BPS


async def test_media_arrives_on_allowed_ports_only() -> None:
    ports = (20510, 20519)

    async def used(sessions: WhipSessions, stream: str) -> int:
        answer = await sessions.offer(an_offer(stream))
        lines = [line for line in answer.sdp.splitlines() if line.startswith("a=candidate:") and " 127.0.0.1 " in line]
        return int(lines[0].split()[5])

    async with whip_sessions_of(WhipConfig(udp_ports=ports)) as sessions:
        found = [await used(sessions, str(number)) for number in range(10)]
        assert sorted(found) == list(range(ports[0], ports[1] + 1))
        with pytest.raises(Busy) as refused:
            await used(sessions, "one too many")
        assert refused.value.code == "no_ports"
        assert sessions.status.sessions == 10
    async with whip_sessions_of(WhipConfig(udp_ports=ports)) as sessions:
        await used(sessions, "again")


async def test_a_call_runs_over_an_allowed_port_and_ipv6() -> None:
    async def by_ipv6(answer: str) -> str:
        lines = answer.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("a=candidate:") or " ::1 " in line)

    config = WhipConfig(udp_ports=(20520, 20539))
    async with whip_rig(config) as rig, publishing(f"{rig.url}/whip/call", through=by_ipv6):
        session = await rig.service.first()
        await until(lambda: len(session.units) > 10)


async def test_public_addresses_replace_our_own() -> None:
    public = ("203.0.113.7", "2001:db8::7")
    async with whip_sessions_of(WhipConfig(loopback=False, public_addresses=public)) as sessions:
        answer = await sessions.offer(an_offer())
    candidates = [line.split()[4] for line in answer.sdp.splitlines() if line.startswith("a=candidate:")]
    assert candidates
    assert set(candidates) <= set(public)
    lines = [line for line in answer.sdp.splitlines() if line.startswith("c=")]
    assert all(line.endswith((*public, "0.0.0.0")) for line in lines)


async def test_checks_go_to_remote_candidates_only_where_configured() -> None:
    """The publisher's own checks are kept away, so that only ours can connect the two."""
    for wanted in (True, False):
        config = WhipConfig(remote_candidates=wanted, connect_s=4.0)
        async with whip_rig(config) as rig:
            call = Publisher(f"{rig.url}/whip/call")
            offer = await call.offer()
            answer = await rig.sessions.offer(an_offer("call", offer))
            blind = "\r\n".join(line for line in answer.sdp.splitlines() if not line.startswith("a=candidate:"))
            blind = blind.replace("a=end-of-candidates\r\n", "")
            await call.connection.setRemoteDescription(RTCSessionDescription(blind + "\r\n", "answer"))
            await until(lambda rig=rig: rig.sessions.status.pending == 0)
            assert (rig.sessions.status.sessions == 1) is wanted
            await call.connection.close()


async def test_a_publisher_without_send_times_is_told_the_bitrate_too() -> None:
    """aiortc alone sends REMB only for packets with the extension abs-send-time."""

    async def without_send_times(answer: str) -> str:
        kept = [line for line in answer.splitlines() if "abs-send-time" not in line]
        assert len(kept) == len(answer.splitlines()) - 1
        return "\r\n".join([*kept, ""])

    async with whip_rig() as rig, publishing(f"{rig.url}/whip/call", through=without_send_times) as call:
        assert await call.allowed_bps() == aiortc_patches.FIXED_BITRATE_BPS
