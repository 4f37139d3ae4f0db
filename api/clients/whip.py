"""WHIP publisher: sends the H.264 or VP8 packets of a file at their media pace, without decoding them.

Loops seamlessly: media time continues when the file restarts. The file must start with a key frame and must not have
B-frames, because WebRTC carries no decode times. A key frame that the server requests is the next one in the file.
The command for it is `deepguard publish`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import av
import httpx
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from api.errors import PublishFailed, Refusal
from api.ingest.aiortc_patches import loopback_candidates, new_connection, send_orientation, tell_keyframe_requests
from consumers.outbound_http import MalformedRedirect, absolute_url
from stream.access_units import AccessUnits, codec_of
from stream.codecs import BY_CODEC, RTP_TITLES
from stream.display_picture import display_of_packet
from stream.display_transform import AS_DECODED, DisplayTransform, cvo_of_transform
from stream.types import Codec

_MAX_FILE_BYTES = 256 * 2**20
TICKS = Fraction(1, 90_000)
_HTTP_S = 20.0
_DELETE_S = 5.0


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How to publish. `duration_s` None publishes without end; setting `stop` ends it early.

    `sample` marks the demonstration call; services accept the mark from the same machine only.
    """

    duration_s: float | None = None
    token: str | None = None
    sample: bool = False
    connect_s: float = 15.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class PublishStats(NamedTuple):
    """Statistics of a publication. `connected_s`: seconds from the offer to the connection.

    `ended_by`: "duration", "stop" or "server".
    """

    frames: int
    payload_bytes: int
    loops: int
    connected_s: float
    ended_by: str


class Clip(NamedTuple):
    """The encoded video of a file, in memory.

    `packets` are (90 kHz ticks from the first frame, data). `starts` are the indices of the key frames.
    `display` is how the file shows its frames.
    """

    codec: str
    packets: tuple[tuple[int, bytes], ...]
    duration_ticks: int
    starts: tuple[int, ...] = (0,)
    display: DisplayTransform = AS_DECODED


async def publish(url: str, source: Path, options: PublishOptions) -> PublishStats:
    """Publishes a file until the duration is over, `stop` is set or the server ends the session.

    Raises PublishFailed.
    """
    return await publish_track(url, ClipTrack(await asyncio.to_thread(load_clip, source)), options)


async def publish_track(url: str, track: EncodedTrack, options: PublishOptions) -> PublishStats:
    """As `publish`, for any encoded track. Stops the track at the end."""
    connection = new_connection()
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    async with httpx.AsyncClient(headers=headers, timeout=_HTTP_S, trust_env=False) as client:
        try:
            start_s = time.monotonic()
            session = await _negotiate(client, connection, track, url, options)
            try:
                await _connected(connection, ended, options.connect_s)
                connected_s = time.monotonic() - start_s
                ended_by = await _play(ended, options)
            finally:
                if not ended.done():
                    with contextlib.suppress(httpx.HTTPError):
                        await client.delete(session, timeout=_DELETE_S)
        finally:
            track.stop()
            await connection.close()
    return PublishStats(track.frames, track.payload_bytes, track.loops, connected_s, ended_by)


def load_clip(source: Path) -> Clip:
    """Reads a file. Raises PublishFailed if it is too large, or not H.264 or VP8 without B-frames."""
    if source.stat().st_size > _MAX_FILE_BYTES:
        raise PublishFailed(f"{source} is larger than {_MAX_FILE_BYTES} bytes")
    try:
        with av.open(str(source)) as container:
            return _read_clip(container, source)
    except av.FFmpegError as error:
        raise PublishFailed(f"{source} cannot be read: {error}") from error


def _read_clip(container: av.container.InputContainer, source: Path) -> Clip:
    stream = next(iter(container.streams.video), None)
    row = codec_of(stream) if stream is not None else None
    if stream is None or row is None or not row.rtp_name:
        found = stream.codec_context.codec.canonical_name if stream is not None else "no video"
        raise PublishFailed(f"{source} has {found}; {RTP_TITLES} can be published")
    units = AccessUnits(stream, row)
    packets: list[tuple[int, bytes]] = []
    starts: list[int] = []
    display: DisplayTransform | None = None
    for packet in container.demux(stream):
        if packet.pts is None or packet.time_base is None:
            continue
        ticks = round(packet.pts * packet.time_base / TICKS)
        if packet.is_keyframe:
            starts.append(len(packets))
            display = display or display_of_packet(stream, packet)
        data = b"".join(payload for _, payload in units.of(packet))     # empties the packet
        packets.append((ticks, data))
    if len(packets) < 2:
        raise PublishFailed(f"{source} has fewer than two frames")
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(packets)):
        raise PublishFailed(f"{source} has B-frames, which WebRTC cannot carry; encode it without (x264: -bf 0)")
    first, last = packets[0][0], packets[-1][0]
    nominal = round((last - first) / (len(packets) - 1))
    moved = tuple((ticks - first, data) for ticks, data in packets)
    return Clip(row.codec, moved, last - first + nominal, tuple(starts) or (0,), display or AS_DECODED)


class EncodedTrack(MediaStreamTrack):
    """A track of encoded packets ("h264" or "vp8"). Counts the frames and bytes sent."""

    kind = "video"

    def __init__(self, codec: str, display: DisplayTransform = AS_DECODED) -> None:
        super().__init__()
        self.codec = codec
        self.display = display
        self.frames = 0
        self.payload_bytes = 0

    @property
    def loops(self) -> int:
        """How often the whole clip was sent."""
        return 0

    def keyframe_requested(self) -> None:
        """Called when the server requests a key frame. Without an encoder, the next key frame of the media follows."""

    def sent(self, ticks: int, data: bytes) -> av.Packet[Any]:
        """Counts a packet and returns it for `recv`; aiortc forwards it unchanged."""
        packet = av.Packet(data)
        packet.pts, packet.time_base = ticks, TICKS
        self.frames += 1
        self.payload_bytes += len(data)
        return packet


class ClipTrack(EncodedTrack):
    """Sends the packets of a clip at the pace of their media time, in a loop."""

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip.codec, clip.display)
        self.clip = clip
        self._start_s: float | None = None

    @property
    def loops(self) -> int:
        return self.frames // len(self.clip.packets)

    def next_packet(self) -> tuple[int, bytes]:
        """Returns the next packet with its media time in ticks."""
        ticks, data = self.clip.packets[self.frames % len(self.clip.packets)]
        return ticks + self.loops * self.clip.duration_ticks, data

    async def recv(self) -> av.Packet[Any]:
        """Returns the next packet when it is due. Raises MediaStreamError when stopped."""
        if self.readyState != "live":
            raise MediaStreamError
        ticks, data = self.next_packet()
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s
        wait_s = self._start_s + float(ticks * TICKS) - now_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        return self.sent(ticks, data)


async def _negotiate(
    client: httpx.AsyncClient, connection: RTCPeerConnection, track: EncodedTrack, url: str, options: PublishOptions
) -> str:
    """Sends an SDP offer with the codec of the track alone. Returns the session URL. Raises PublishFailed."""
    transceiver = connection.addTransceiver(track, direction="sendonly")
    tell_keyframe_requests(transceiver.sender, track.keyframe_requested)
    if track.display != AS_DECODED:
        send_orientation(transceiver.sender, cvo_of_transform(track.display))
    mime_type = f"video/{BY_CODEC[Codec(track.codec)].rtp_name}"
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([c for c in capabilities if c.mimeType in (mime_type, "video/rtx")])
    with loopback_candidates(_is_this_machine(url)):
        await connection.setLocalDescription(await connection.createOffer())
    headers = {"Content-Type": "application/sdp"} | ({"DeepGuard-Sample": "1"} if options.sample else {})
    offered_s, target = time.monotonic(), url
    try:
        answer = await client.post(target, content=connection.localDescription.sdp, headers=headers)
        if answer.status_code == httpx.codes.TEMPORARY_REDIRECT:
            target = _redirected(url, answer.headers.get("location", ""))
            answer = await client.post(target, content=connection.localDescription.sdp, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        problem = f"{url} cannot be reached, or redirects to a malformed URL: {type(error).__name__}"
        raise PublishFailed(problem) from None
    if answer.status_code != 201 or "location" not in answer.headers:
        refusal = Refusal(answer.status_code, time.monotonic() - offered_s, _retry_after_s(answer))
        raise PublishFailed(f"{url} answered {answer.status_code}: {answer.text[:300]}", refusal)
    try:
        session = absolute_url(target, answer.headers["location"])
    except MalformedRedirect:
        raise PublishFailed(f"{url} names a malformed URL as its session") from None
    try:
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    except ValueError as error:
        await client.delete(session)
        raise PublishFailed(f"{url} sent an invalid SDP answer: {error}") from error
    return session


def _redirected(url: str, location: str) -> str:
    """Returns the target of a redirect; the token never goes from HTTPS to HTTP. Raises PublishFailed."""
    try:
        target = absolute_url(url, location)
    except MalformedRedirect:
        raise PublishFailed(f"{url} redirects to a malformed URL, or to none") from None
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise PublishFailed(f"{url} redirects to a URL without TLS, which would show the token")
    return target


def _retry_after_s(answer: httpx.Response) -> float | None:
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None


async def _connected(connection: RTCPeerConnection, ended: asyncio.Future[str], connect_s: float) -> None:
    """Waits for the connection; `ended` resolves when the server closes it. Raises PublishFailed."""
    ready = asyncio.Event()

    def changed() -> None:
        if connection.connectionState == "connected":
            ready.set()
        elif connection.connectionState in ("failed", "closed") and not ended.done():
            ended.set_result("server")
            ready.set()

    connection.on("connectionstatechange", changed)
    changed()
    try:
        async with asyncio.timeout(connect_s):
            await ready.wait()
    except TimeoutError:
        raise PublishFailed(f"no WebRTC connection within {connect_s:g} s; check the path of UDP") from None
    if ended.done():
        raise PublishFailed("the WebRTC connection failed")


async def _play(ended: asyncio.Future[str], options: PublishOptions) -> str:
    """Waits for the end and returns its cause."""
    stop = asyncio.ensure_future(options.stop.wait())
    try:
        await asyncio.wait((ended, stop), timeout=options.duration_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
    if ended.done():
        return ended.result()
    return "stop" if options.stop.is_set() else "duration"


def _is_this_machine(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
