"""HLS and files over HTTP, demuxed by FFmpeg in a process that can reach nothing, and every way to misuse that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from api.ingest.pull.errors import PullRefused
from api.ingest.pull.url_policy import PullPolicy
from stream.identity import StreamIdentity
from stream.types import Codec, DropCause, EndReason
from tests.api.guards import nothing_left
from tests.api.ingest.pull.support import LOOPBACK, QUICK, canary, pulls_of, remux, serving, site_of
from tests.api.whip_rig import CollectingService, until
from tests.kafka.certificates import write_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from tests.api.ingest.pull.support import PullRig

SECONDS = 1.0
FORMS = {"call.mp4": {"movflags": "faststart"}, "late.mp4": {}, "call.flv": {}, "call.ts": {}, "call.mkv": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One call in every container, and as HLS: plain, and encrypted with a key of its own."""
    folder = tmp_path_factory.mktemp("site")
    for name, options in FORMS.items():
        remux(folder / name, SECONDS, **options)
    remux(folder / "call.m3u8", SECONDS, hls_time="0.5", hls_list_size="0")
    (folder / "key.bin").write_bytes(bytes(range(16)))
    info = folder / "key.info"
    info.write_text(f"key.bin\n{folder / 'key.bin'}\n")
    remux(folder / "secret.m3u8", SECONDS, hls_time="0.5", hls_list_size="0", hls_key_info_file=str(info))
    ranges = {"hls_time": "0.5", "hls_list_size": "0", "hls_flags": "single_file"}
    remux(folder / "ranges.m3u8", SECONDS, **ranges)
    remux(folder / "ranges-fmp4.m3u8", SECONDS, **ranges, hls_segment_type="fmp4")
    (folder / "main.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=900000\ncall.m3u8\n")
    return folder


async def ended(service: CollectingService) -> None:
    await until(lambda: bool(service.sessions) and service.sessions[0].ended is not None)


@pytest.mark.parametrize("name", [*FORMS, "call.m3u8", "secret.m3u8", "main.m3u8", "ranges.m3u8", "ranges-fmp4.m3u8"])
async def test_complete_files_and_playlists_are_played_to_their_end(folder: Path, name: str) -> None:
    service = CollectingService()
    async with site_of(folder) as site, pulls_of(service) as pulls:
        order = await pulls.sources.pull(StreamIdentity("cam", "room", "ann"), f"{site.url}/{name}")
        assert order.protocol == ("hls" if name.endswith("m3u8") else "http")
        await ended(service)
    session = service.sessions[0]
    assert (session.ended, session.message, session.gaps) == (EndReason.END_OF_MEDIA, "", [])
    assert (session.spec.codec, session.spec.identity) == (Codec.H264, StreamIdentity("cam", "room", "ann"))
    times = [unit.pts_s for unit in session.units]
    assert len(times) == 30
    assert session.units[0].keyframe
    assert max(times) - min(times) == pytest.approx(29 / 30, abs=0.01)
    assert session.units[-1].capture_s - session.units[0].capture_s > 0.75       # not faster than it was


@pytest.mark.parametrize("name", ["ranges.m3u8", "ranges-fmp4.m3u8"])
async def test_byte_ranges_bring_the_frames_of_whole_segments(folder: Path, name: str) -> None:
    """A segment that were read from the start of its file would repeat the first frames of the call."""
    payloads = []
    async with site_of(folder) as site:
        for each in ("call.m3u8", name):
            service = CollectingService()
            async with pulls_of(service) as pulls:
                await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/{each}")
                await ended(service)
            payloads.append([unit.payload[-64:] for unit in service.sessions[0].units])
    assert len(set(payloads[0])) > 25
    assert payloads[0] == payloads[1]


async def test_a_server_that_ignores_byte_ranges_is_a_problem_and_no_media(folder: Path) -> None:
    """Its answer would be the start of the file again and again."""

    async def whole_files(request: Request) -> Response:
        return Response((folder / request.path_params["name"]).read_bytes())

    service = CollectingService()
    async with serving(Starlette(routes=[Route("/{name}", whole_files)])) as url, pulls_of(service) as pulls:
        await _fails(pulls, f"{url}/ranges-fmp4.m3u8", "range_unsupported")
    assert [session.units for session in service.sessions] in ([], [[]])


async def test_a_source_that_disconnects_is_retried_in_the_same_stream(folder: Path) -> None:
    service = CollectingService()
    whole = remux(folder / "long.mp4", 2 * SECONDS, movflags="faststart").read_bytes()
    asked = 0

    async def flaky(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole))
        writer.write(whole if asked > 1 else whole[: len(whole) * 2 // 3])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(flaky, "127.0.0.1", 0)
    async with nothing_left(), server, pulls_of(service) as pulls:
        await pulls.sources.pull(StreamIdentity("cam"), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/call.mp4")
        await ended(service)
        assert asked == 2
    assert [session.gaps for session in service.sessions] == [[DropCause.SOURCE_LOST]]
    assert service.sessions[0].ended is EndReason.END_OF_MEDIA


HOSTILE = {
    "segment": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{bait}\n#EXT-X-ENDLIST\n",
    "nested": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{bait}\n",
    "key": (
        '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="{bait}"\n#EXTINF:1,\ncall0.ts\n'
        "#EXT-X-ENDLIST\n"
    ),
    "map": '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI="{bait}"\n#EXTINF:1,\ncall0.ts\n#EXT-X-ENDLIST\n',
}
FEW = (0, 4, 7)       # of the baits, where the location is another but the way is the same
BAITS = (
    "http://127.0.0.1:{port}/x.ts", "http://[::ffff:127.0.0.1]:{port}/x.ts", "http://0x7f000001:{port}/x.ts",
    "http://rebind.test:{port}/x.ts", "file://{secret}", "concat:{secret}|{secret}",
    "subfile,,start,0,end,9,,:{secret}",
    "crypto+file:{secret}", "tcp://127.0.0.1:{port}", "rtsp://127.0.0.1:{port}/x", "data:video/mp2t;base64,AAAA",
    "http+unix://x", "{secret}",
)


@pytest.mark.parametrize("location", HOSTILE)
async def test_playlists_reach_no_forbidden_address(folder: Path, location: str, tmp_path: Path) -> None:
    """The site is at an address that is allowed, the bait at one that is not."""
    secret = tmp_path / "secret.ts"
    secret.write_bytes((folder / "call.ts").read_bytes())
    async with canary() as (port, seen), site_of(folder) as site:
        names = []
        for number, bait in enumerate(BAITS):
            if location == "segment" or number in FEW:
                names.append(f"bait-{location}-{number}.m3u8")
                (folder / names[-1]).write_text(HOSTILE[location].format(bait=bait.format(port=port, secret=secret)))
        await _all_refused(int(site.url.rpartition(":")[2]), names)
        assert seen == []


async def _all_refused(port: int, names: list[str]) -> None:
    """Nothing of any bait is ever shown; `site.test` is allowed, and is this machine."""
    policy = PullPolicy(networks=LOOPBACK.networks, hosts=("site.test", "rebind.test"))

    async def resolve(host: str, _: int) -> list[str]:
        return ["127.0.0.1"] if host == "site.test" else ["10.0.0.1"]

    service = CollectingService()
    async with pulls_of(service, policy, replace(QUICK, retry_s=0.0), resolve=resolve) as pulls:
        for first in range(0, len(names), 4):
            for name in names[first : first + 4]:
                await pulls.sources.pull(StreamIdentity(name), f"http://site.test:{port}/{name}")
            await until(lambda: not len(pulls.registry))
        assert {status.problem.code for status in pulls.registry.list() if status.problem is not None} <= {
            "host_not_allowed", "scheme_not_allowed", "address_not_allowed", "bad_media", "not_found", "bad_url",
        }
        assert len(pulls.registry.list()) == len(names)
    assert service.sessions == [], [session.message for session in service.sessions]


@pytest.mark.parametrize(("url", "code"), [
    ("http://127.0.0.1:{port}/", "address_not_allowed"), ("http://localhost:{port}/", "address_not_allowed"),
    ("http://[::1]:{port}/", "address_not_allowed"), ("http://[::ffff:127.0.0.1]:{port}/", "address_not_allowed"),
    ("http://2130706433:{port}/", "address_not_allowed"), ("http://0x7f.1:{port}/", "address_not_allowed"),
    ("rtsp://127.0.0.1:{port}/", "address_not_allowed"), ("rtmp://127.0.0.1:{port}/a/b", "address_not_allowed"),
    ("http://169.254.169.254/latest", "address_not_allowed"), ("http://10.0.0.1/", "address_not_allowed"),
    ("http://0.0.0.0:{port}/", "address_not_allowed"), ("http://[64:ff9b::7f00:1]:{port}/", "address_not_allowed"),
    ("http://[fe80::1%25lo]:{port}/", "bad_url"), ("http://a b/", "bad_url"), ("http:///x", "bad_url"),
    ("http://u:p%0d%0a@host/", "bad_url"), ("http://host/#x", "bad_url"), ("rtmp://u:p@192.0.2.1/a/b", "bad_url"),
    ("file:///etc/passwd", "scheme_not_allowed"), ("concat:/etc/passwd", "scheme_not_allowed"),
    ("tcp://127.0.0.1:{port}", "scheme_not_allowed"), ("udp://@:{port}", "scheme_not_allowed"),
    ("lavfi:testsrc", "scheme_not_allowed"), ("/etc/passwd", "scheme_not_allowed"),
    ("http://no-such-host.invalid/", "host_unknown"),
])
async def test_forbidden_urls_are_refused(url: str, code: str) -> None:
    service = CollectingService()
    async with canary() as (port, seen), pulls_of(service, PullPolicy()) as pulls:
        with pytest.raises(PullRefused) as refused:
            await pulls.sources.pull(StreamIdentity("cam"), url.format(port=port))
        assert refused.value.code == code, refused.value
        assert seen == []
        assert not len(pulls.registry)


async def test_hosts_and_schemes_can_be_limited() -> None:
    policy = PullPolicy(frozenset(("https",)), ("cam.example.com", "*.example.org"))
    async with pulls_of(CollectingService(), policy) as pulls:
        for url, code in (
            ("rtsp://cam.example.com/", "scheme_not_allowed"), ("https://example.com/", "host_not_allowed"),
            ("https://example.org/", "host_not_allowed"), ("https://cam.example.com.evil.test/", "host_not_allowed"),
        ):
            with pytest.raises(PullRefused) as refused:
                await pulls.sources.pull(StreamIdentity("cam"), url)
            assert refused.value.code == code


async def test_tls_certificates_are_verified(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is for 127.0.0.1, and of an authority that only `SSL_CERT_FILE` makes known."""
    trusted, shown = write_certificate(tmp_path)

    async def resolve(host: str, _: int) -> list[str]:
        return ["127.0.0.1"]

    service = CollectingService()
    async with site_of(folder, shown) as site, pulls_of(service, resolve=resolve) as pulls:
        await _fails(pulls, f"{site.url}/call.m3u8", "unreachable", is_final=False)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        other = site.url.replace("127.0.0.1", "site.test")
        await _fails(pulls, f"{other}/call.m3u8", "unreachable", is_final=False)
        await _fails(pulls, f"{site.url.replace('https', 'rtsps')}/call", "protocol_error", is_final=False)
        await _fails(pulls, f"{other.replace('https', 'rtsps')}/call", "unreachable", is_final=False)
        assert site.asked == []
        await pulls.sources.pull(StreamIdentity("cam"), f"{site.url}/call.m3u8")
        await ended(service)
    assert service.sessions[0].ended is EndReason.END_OF_MEDIA


async def test_redirects_are_checked_and_names_are_looked_up_once(folder: Path) -> None:
    """A name that leads elsewhere a moment later leads nowhere: the address that was checked is connected to."""
    answers = iter((["127.0.0.1"], ["127.0.0.1"], *(["127.0.0.9"],) * 9))

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers) if host == "site.test" else [host]

    service = CollectingService()
    async with canary() as (port, seen), site_of(folder) as site:
        policy = PullPolicy(networks=LOOPBACK.networks, hosts=("site.test", "127.0.0.1"))
        site_url = site.url.replace("127.0.0.1", "site.test")
        async with pulls_of(service, policy, resolve=rebinding) as pulls:
            await pulls.sources.pull(StreamIdentity("one"), f"{site_url}/call.mp4")
            await ended(service)
        async with pulls_of(service, policy) as pulls:
            await _fails(pulls, f"{site.url}/to?url=file:///etc/passwd", "scheme_not_allowed")
            await _fails(pulls, f"{site.url}/to?url=http://127.0.0.2:{port}/", "host_not_allowed")
            await _fails(pulls, f"{site.url}/to?url=http://169.254.169.254/", "host_not_allowed")
            await _fails(pulls, f"{site.url}/to?url={site.url}/to?url={site.url}/to", "server_failed", is_final=False)
        assert seen == []


async def _fails(pulls: PullRig, url: str, code: str, is_final: bool = True) -> None:
    await pulls.sources.pull(StreamIdentity("cam"), url)
    await until(lambda: any(status.problem is not None for status in pulls.registry.list()))
    status = next(status for status in pulls.registry.list() if status.problem is not None)
    assert status.problem is not None
    assert status.problem.code == code
    if is_final:
        await until(lambda: not len(pulls.registry))
        assert pulls.registry.list()[0].state == "failed"
    else:
        await pulls.registry.stop("cam")
    pulls.registry._failed.clear()


async def test_problems_are_listed_without_the_login(folder: Path) -> None:
    service = CollectingService()
    (folder / "noise.bin").write_bytes(bytes(range(256)) * 64)
    async with site_of(folder) as site, pulls_of(service) as pulls:
        login = site.url.replace("http://", "http://user:hush-hush@")
        await _fails(pulls, f"{login}/noise.bin", "bad_media")
        await pulls.sources.pull(StreamIdentity("cam"), f"{login}/absent.mp4")
        await until(lambda: pulls.registry.list()[0].attempts >= 2)
        status = pulls.registry.list()[0]
        assert status.problem is not None
        assert status.problem.code == "not_found"
        assert "hush" not in repr(pulls.registry.list())
        await pulls.registry.stop("cam")
        assert pulls.registry.list() == []
    async with pulls_of(service) as pulls:
        async with canary() as (port, _):
            pass
        await _fails(pulls, f"http://127.0.0.1:{port}/", "unreachable", is_final=False)


async def test_silence_ends_an_attempt_and_then_the_source_fails() -> None:
    service = CollectingService()
    hold = asyncio.Event()

    async def silent(scope: object, receive: object, send: object) -> None:
        await hold.wait()

    async with serving(silent) as url:      # type: ignore[arg-type]
        async with pulls_of(service, timeouts=replace(QUICK, silence_s=0.3, retry_s=3.0)) as pulls:
            await pulls.sources.pull(StreamIdentity("cam"), f"{url}/x.mp4")
            await until(lambda: not len(pulls.registry))
            (status,) = pulls.registry.list()
            assert (status.state, status.problem and status.problem.code) == ("failed", "timeout")
            assert status.attempts >= 2
        hold.set()
