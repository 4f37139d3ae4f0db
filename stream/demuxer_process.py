"""Demuxer process: `python -m stream.demuxer_process SETTINGS`, with SETTINGS the JSON of a DemuxSettings.

FFmpeg's demuxers open every URL that the media refers to. In this process, every open is a request to the parent. The
process itself may neither connect nor open files once demuxing has begun.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import av
import av.logging
import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from stream.access_units import AccessUnits, codec_of
from stream.codecs import BY_FFMPEG, TITLES, VIDEO_CODECS
from stream.demuxer_messages import (
    HEADER,
    MAX_READ_BYTES,
    Close,
    Data,
    DemuxSettings,
    Finished,
    FromDemuxer,
    Open,
    Opened,
    Packet,
    Read,
    ToDemuxer,
)
from stream.display_picture import display_of_packet
from stream.display_transform import AS_DECODED, DisplayTransform
from stream.errors import MediaRefused
from stream.process_log import log_to_stderr
from stream.process_sandbox import confine, deny_outside_access, die_with
from stream.unit_decoder import DECODER_ERRORS, check_libraries

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS = "hls,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,flv,live_flv,aac,mp3,webvtt"
_OPTIONS = {
    "format_whitelist": FORMATS,
    "protocol_whitelist": "http,https,crypto",      # for playlists; FFmpeg itself opens none of them
    "codec_whitelist": ",".join({name for row in VIDEO_CODECS for name in (row.ffmpeg, row.decoder)}),
    "probesize": "2000000",
    "analyzeduration": "3000000",
    "max_streams": "64",
    "http_persistent": "0",
    "max_reload": "1000",       # reloads of a live playlist without news; the parent sets the time limit
}
_UNUSED = frozenset({"av.__main__", "av.datasets"})
_BEST_HEIGHT_PX = 720
_MAX_ENCRYPTED_BYTES = 64 * 2**20
_CRYPTO = "crypto+"


class ParentClient:
    """Client for requests to the parent process. Each request blocks until its answer arrives."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = connection.makefile("rb")
        self._decoder = msgspec.msgpack.Decoder(ToDemuxer)
        self._handles = 0

    def send(self, message: FromDemuxer) -> None:
        """Sends a message without an answer. Raises OSError when the parent has ended."""
        body = msgspec.msgpack.encode(message)
        self._socket.sendall(HEADER.pack(len(body)) + body)

    def open(self, url: str, offset: int = 0, end: int = -1) -> tuple[int, Opened]:
        """Opens bytes `offset` up to, excluding, `end` (-1: to the last). Returns a new handle. Raises
        FileNotFoundError."""
        self._handles += 1
        answer = self._request(Open(self._handles, url, offset, end))
        if not isinstance(answer, Opened) or not answer.is_there:
            raise FileNotFoundError("the source does not have this file")     # its URL may hold a token
        return self._handles, answer

    def read(self, handle: int, size: int) -> bytes:
        """Reads the next bytes. Raises OSError if the source breaks off."""
        answer = self._request(Read(handle, min(size, MAX_READ_BYTES)))
        if not isinstance(answer, Data) or answer.is_broken:
            raise OSError("the source ended before the requested bytes")
        return answer.data

    def _request(self, message: FromDemuxer) -> ToDemuxer:
        self.send(message)
        header = self._reader.read(HEADER.size)
        if len(header) < HEADER.size:
            raise OSError("the parent process has ended")
        answer: ToDemuxer = self._decoder.decode(self._reader.read(*HEADER.unpack(header)))
        return answer


class RemoteFile(io.RawIOBase):
    """Read-only file over the bytes at a URL, or over a range of them. A seek is a new request.

    Positions count from the start of the whole file; reading starts at `offset`.
    """

    def __init__(self, parent: ParentClient, url: str, offset: int = 0, end: int = -1) -> None:
        self._parent = parent
        self._url = url
        self._end = end
        self._at = self._asked = offset
        self._handle, self._opened = parent.open(url, offset, end)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._opened.seekable and self._opened.size >= 0

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if self._asked != self._at:
            self._parent.send(Close(self._handle))
            self._handle, _ = self._parent.open(self._url, self._at, self._end)
            self._asked = self._at
        data = self._parent.read(self._handle, MAX_READ_BYTES if size < 0 else size)
        self._at += len(data)
        self._asked = self._at
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if not self.seekable():
            raise io.UnsupportedOperation("seek")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._opened.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def close(self) -> None:
        if not self.closed:
            self._parent.send(Close(self._handle))
        super().close()


def open_for(parent: ParentClient, url: str, options: dict[str, str]) -> io.RawIOBase | io.BytesIO:
    """Opens a URL for FFmpeg, decrypting it if the URL says so (HLS: AES-128 in CBC mode). Raises OSError.

    `offset` and `end_offset` in `options` are the byte range of an HLS segment or initialisation section.
    """
    offset, end = int(options.get("offset", 0)), int(options.get("end_offset", -1))
    if not url.startswith(_CRYPTO):
        return RemoteFile(parent, url, offset, end)
    with RemoteFile(parent, url.removeprefix(_CRYPTO), offset, end) as source:
        data = b"".join(_parts(source))
    key, start = bytes.fromhex(options["key"]), bytes.fromhex(options["iv"])
    decryptor = Cipher(algorithms.AES(key), modes.CBC(start)).decryptor()
    plain = decryptor.update(data[: len(data) // 16 * 16]) + decryptor.finalize()
    return io.BytesIO(plain[: -plain[-1]] if plain else b"")


def _parts(source: RemoteFile) -> Iterator[bytes]:
    total = 0
    while part := source.read(MAX_READ_BYTES):
        total += len(part)
        if total > _MAX_ENCRYPTED_BYTES:
            raise OSError(f"an encrypted segment has more than {_MAX_ENCRYPTED_BYTES} bytes, which is the limit")
        yield part


def demux(parent: ParentClient, settings: DemuxSettings) -> None:
    """Sends the packets of the video at the URL to the parent. Raises MediaRefused and PyAV's errors."""
    def io_open(url: str, flags: int, options: dict[str, str]) -> io.RawIOBase | io.BytesIO:
        try:
            return open_for(parent, url, options)
        except FileNotFoundError:
            return io.BytesIO()     # FFmpeg goes on with the next segment; an exception would end PyAV's demuxing

    with av.open(settings.url, io_open=io_open, options=dict(_OPTIONS)) as container:
        stream = _choose_stream(container)
        row = BY_FFMPEG[stream.codec_context.codec.canonical_name]
        units = AccessUnits(stream, row)
        display: DisplayTransform | None = None
        for packet in container.demux(stream):
            if packet.size > settings.packet_bytes:
                limit = settings.packet_bytes
                raise MediaRefused("bad_media", f"a frame has {packet.size} bytes; at most {limit} are allowed")
            if display is None and packet.is_keyframe:
                display = display_of_packet(stream, packet)
            for plain, payload in units.of(packet):
                at = plain.dts if plain.pts is None else plain.pts
                if at is not None and plain.size:
                    pts_s, is_keyframe = float(at * plain.time_base), bool(plain.is_keyframe)
                    parent.send(Packet(row.codec, payload, pts_s, is_keyframe, display or AS_DECODED))


def _choose_stream(container: Any) -> Any:
    """Returns the video stream to judge: the largest of up to 720 lines. The others are not fetched."""
    videos = [stream for stream in container.streams.video if stream.codec_context is not None]
    usable = [stream for stream in videos if codec_of(stream) is not None]
    if not usable:
        names = ", ".join(sorted({stream.codec_context.codec.canonical_name for stream in videos}))
        if names:
            raise MediaRefused("unsupported_codec", f"{TITLES} are supported; the source has {names}")
        raise MediaRefused("no_video", "the source has no video")
    chosen = min(usable, key=lambda stream: abs(stream.codec_context.height - _BEST_HEIGHT_PX))
    for stream in container.streams:
        if stream is not chosen:
            stream.discard = av.stream.Discard.all
    return chosen


def _preload() -> None:
    """Imports all of PyAV: it loads some modules at the first stream that needs them, when none can be opened."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in _UNUSED:
            importlib.import_module(module.name)


def main(arguments: list[str]) -> None:
    settings = msgspec.json.decode(arguments[0], type=DemuxSettings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_to_stderr()
    die_with(settings.parent_pid)
    confine(settings.address_space_bytes, settings.max_files)
    av.logging.set_level(av.logging.PANIC)
    check_libraries()
    _preload()
    parent = ParentClient(socket.socket(fileno=settings.socket_fd))
    deny_outside_access()
    try:
        demux(parent, settings)
        parent.send(Finished())
    except MediaRefused as refused:
        parent.send(Finished(refused.code, refused.message))
    except DECODER_ERRORS:
        parent.send(Finished("bad_media", "the source is no HLS, MP4, WebM, FLV or MPEG-TS that can be read"))


if __name__ == "__main__":
    main(sys.argv[1:])
