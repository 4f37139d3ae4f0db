"""The registry of sources: WHIP sessions, RTP receivers and pulled sources are admitted, listed and ended alike."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from api.errors import Busy
from api.ingest.live_source import LiveSource, SourceFailure, SourceKind, SourceState
from api.ingest.pull.dialer import Dialer
from api.ingest.pull.pulled_sources import PullConfig, PulledSources
from api.ingest.pull.puller import PullTimeouts
from api.ingest.pull.url_policy import PullPolicy
from api.ingest.registry import Quota, SourceRegistry
from api.ingest.rtp_receiver import RtpRequest
from api.ingest.rtp_receivers import RtpConfig, RtpReceivers
from api.ingest.whip.config import WhipConfig
from api.ingest.whip.session import Offer
from api.ingest.whip.sessions import WhipSessions
from stream.errors import ServiceDraining, ServiceFull, StreamExists, StreamUnknown
from stream.identity import StreamIdentity
from stream.stream_session import StreamSpec
from stream.types import Codec, DropCause, EndReason
from tests.api.guards import nothing_left
from tests.api.ingest.test_rtp_receivers import VP8_KEY, frame
from tests.api.offers import BROWSER_VIDEO_ONLY, LOCAL
from tests.api.whip_rig import CollectingService, registry_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

KINDS = ("whip", "rtp", "pull")
QUOTA = Quota(SourceKind.RTP, 8)


class Starters:
    """Starts a source of each kind in one registry; pulled ones fetch from a server that never answers."""

    def __init__(self, registry: SourceRegistry, port: int) -> None:
        policy = PullPolicy(networks=(ip_network("127.0.0.0/8"),))
        self.registry = registry
        self._url = f"rtsp://127.0.0.1:{port}/cam"
        self._whip = WhipSessions(WhipConfig(), registry)
        self._rtp = RtpReceivers(RtpConfig(), registry)
        self._pulled = PulledSources(PullConfig(8, Dialer(policy), PullTimeouts()), registry)

    async def start(self, kind: str, stream: str) -> None:
        identity = StreamIdentity(stream, "room", "ann")
        if kind == "whip":
            await self._whip.offer(Offer(identity, BROWSER_VIDEO_ONLY, LOCAL))
        elif kind == "rtp":
            await self._rtp.listen(RtpRequest(identity, Codec.VP8), None)
        else:
            await self._pulled.pull(identity, self._url)


@asynccontextmanager
async def starters_of(service: CollectingService | None = None) -> AsyncIterator[Starters]:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with registry_of(service or CollectingService()) as registry:
            yield Starters(registry, silent.getsockname()[1])


class Given(LiveSource):
    """A source whose frames come from the test."""

    kind = SourceKind.RTP

    def __init__(self, stream: str, registry: SourceRegistry, caller: str = "") -> None:
        super().__init__(StreamIdentity(stream), registry, protocol="rtp", caller=caller)
        self.late: EndReason | None = None
        self.hung_up = 0

    @property
    def spec(self) -> StreamSpec:
        return StreamSpec(identity=self.identity, source="rtp", codec=Codec.VP8)

    def overdue(self, now_s: float) -> EndReason | None:
        return self.late

    def request_keyframe(self) -> None:
        """The test has all frames."""

    async def _close_connection(self, reason: EndReason) -> None:
        self.hung_up += 1


async def test_all_kinds_are_listed_alike() -> None:
    async with nothing_left(), starters_of() as starters:
        for kind in KINDS:
            await starters.start(kind, kind)
        listed = starters.registry.list()
        assert [status.identity for status in listed] == [StreamIdentity(kind, "room", "ann") for kind in KINDS]
        assert [status.protocol for status in listed] == ["whip", "rtp", "rtsp"]
        assert {status.state for status in listed} == {SourceState.CONNECTING}
        assert [status.host.rpartition(":")[0] for status in listed] == ["", "", "127.0.0.1"]
        for kind in KINDS:
            assert [source.stream for source in starters.registry.of_kind(SourceKind(kind))] == [kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_is_stopped_before_its_first_frame(kind: str) -> None:
    async with nothing_left(), starters_of() as starters:
        await starters.start(kind, "cam")
        await starters.registry.stop("cam")
        assert len(starters.registry) == 0
        assert starters.registry.list() == []
        with pytest.raises(StreamUnknown):
            await starters.registry.stop("cam")
        await starters.start(kind, "cam")       # the id is free again


@pytest.mark.parametrize("first", KINDS)
async def test_an_id_is_taken_for_all_kinds(first: str) -> None:
    async with starters_of() as starters:
        await starters.start(first, "cam")
        for kind in KINDS:
            with pytest.raises(StreamExists):
                await starters.start(kind, "cam")
        assert len(starters.registry) == 1


async def test_sources_of_all_kinds_count_as_arriving() -> None:
    async with starters_of(CollectingService(max_streams=2)) as starters:
        await starters.start("whip", "a")
        await starters.start("rtp", "b")
        for kind in KINDS:
            with pytest.raises(ServiceFull):
                await starters.start(kind, "c")


async def test_an_open_stream_ends_with_its_source() -> None:
    service = CollectingService()
    async with registry_of(service) as registry:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            port = await RtpReceivers(RtpConfig(), registry).listen(RtpRequest(StreamIdentity("cam"), Codec.VP8), None)
            sender.sendto(frame(1, VP8_KEY), ("127.0.0.1", port))
            session = await service.first()
        assert registry.list()[0].state is SourceState.RECEIVING
        assert registry.list()[0].problem is None
        session.problem = DropCause.NO_KEYFRAME
        problem = registry.list()[0].problem
        assert problem is not None
        assert problem.code == "undecodable"
        assert "no key frame" in problem.message
        await registry.stop("cam")
        assert session.ended is EndReason.STOPPED
        assert service.live == {}


async def test_a_stream_without_a_source_is_stopped_in_the_service() -> None:
    service = CollectingService()
    async with registry_of(service) as registry:
        session = service.open(Given("cam", registry).spec, Given("cam", registry))
        await registry.stop("cam")
        assert session.ended is EndReason.STOPPED


async def test_a_source_that_the_service_refuses_stays_listed_as_failed() -> None:
    service = CollectingService()
    async with registry_of(service) as registry:
        source = Given("cam", registry)
        registry.add(source)
        service.refusal = ServiceFull("no room", 5)
        for number in range(3):
            source.frame(b"x", number / 30, True, 0.0)
        await until(lambda: len(registry) == 0)
        (status,) = registry.list()
        assert (status.state, status.problem) == (SourceState.FAILED, SourceFailure("not_admitted", "no room"))
        assert source.hung_up == 1
        service.refusal = None
        registry.add(Given("cam", registry))
        assert [status.state for status in registry.list()] == [SourceState.CONNECTING], "a new source takes its place"


async def test_quotas_count_one_kind_one_caller_and_those_that_connect() -> None:
    async with registry_of(CollectingService()) as registry:
        registry.add(Given("a", registry, caller="key-1"))
        with pytest.raises(Busy, match="limit of sources") as refused:
            registry.admit("b", QUOTA._replace(max_sources=1), "key-2")
        assert (refused.value.code, refused.value.status) == ("sources_full", 503)
        with pytest.raises(Busy, match="limit of sources"):
            registry.admit("b", QUOTA._replace(max_per_caller=1), "key-1")
        with pytest.raises(Busy, match="connecting"):
            registry.admit("b", QUOTA._replace(max_pending=1), "key-2")
        registry.admit("b", QUOTA._replace(max_per_caller=1), "key-2")
        with pytest.raises(Busy, match="limit of sources"):
            registry.admit("b", Quota(SourceKind.PULL, 1, 1, 1), "key-1")       # a key's sources of all kinds count
        registry.admit("b", Quota(SourceKind.PULL, 1, 1, 1), "key-2")


async def test_overdue_sources_end_and_closing_ends_the_rest() -> None:
    service = CollectingService()
    async with nothing_left():
        registry = SourceRegistry(service)
        late, open_one = Given("late", registry), Given("open", registry)
        for source in (late, open_one):
            registry.add(source)
            source.frame(b"x", 0.0, True, 0.0)
        late.late = EndReason.SILENT
        await until(lambda: "late" not in registry)
        await asyncio.gather(registry.close(), registry.close())
        assert [session.ended for session in service.sessions] == [EndReason.SILENT, EndReason.SHUTDOWN]
        with pytest.raises(ServiceDraining):
            registry.admit("new", QUOTA)


def test_over_http_a_pending_whip_session_is_listed_and_deleted(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/sdp", "DeepGuard-Call-Id": "lobby"}
    offered = client.post("/whip/pending", content=BROWSER_VIDEO_ONLY, headers=headers)
    assert offered.status_code == 201, offered.text
    (source,) = client.get("/v1/streams", params={"call_id": "lobby"}).json()["sources"]
    assert source == {
        "stream": "pending", "source": "whip", "host": "", "call_id": "lobby", "participant_id": "",
        "state": "connecting", "attempts": 1, "retry_in_s": None, "problem": None,
    }
    assert client.delete("/v1/streams/pending").status_code == 204
    assert client.get("/v1/streams", params={"call_id": "lobby"}).json()["sources"] == []
    assert client.delete(offered.headers["location"]).status_code == 404
