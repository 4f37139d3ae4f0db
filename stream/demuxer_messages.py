"""Messages between a demuxer process and its parent: MessagePack, each message preceded by its length in four bytes.

The demuxer process has neither network nor files. It requests what it reads, one request at a time, and gets an answer
to each. Between requests it sends the packets of the video.
"""

from __future__ import annotations

import struct

import msgspec

from stream.display_transform import AS_DECODED, DisplayTransform
from stream.types import Codec

HEADER = struct.Struct(">I")
MAX_MESSAGE_BYTES = 16 * 2**20
MAX_READ_BYTES = 256 * 1024


class DemuxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Start settings of the process; `socket_fd` is its end of the socket pair."""

    socket_fd: int
    parent_pid: int
    url: str
    address_space_bytes: int = 1024 * 2**20
    max_files: int = 32
    packet_bytes: int = 8 * 2**20


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Opens a URL for reading from byte `offset` up to, excluding, byte `end`; -1 means the end of the file."""

    handle: int
    url: str
    offset: int = 0
    end: int = -1


class Read(msgspec.Struct, frozen=True, tag="read"):
    """Requests the next `size` bytes of a handle; the answer may be shorter."""

    handle: int
    size: int


class Close(msgspec.Struct, frozen=True, tag="close"):
    """Ends reading of a handle. There is no answer."""

    handle: int


class Packet(msgspec.Struct, frozen=True, tag="packet"):
    """One encoded frame, H.264 as Annex-B, with the container's display transform. There is no answer."""

    codec: Codec
    payload: bytes
    pts_s: float
    keyframe: bool
    display: DisplayTransform = AS_DECODED


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """Last message. `code` is empty after a clean end, else no_video, unsupported_codec or bad_media."""

    code: str = ""
    message: str = ""


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """Answers Open. `size` is the total length in bytes, -1 if unknown; `seekable` says whether offsets are
    honoured."""

    is_there: bool
    size: int = -1
    seekable: bool = False


class Data(msgspec.Struct, frozen=True, tag="data"):
    """Answers Read; empty at the end."""

    data: bytes
    is_broken: bool = False


FromDemuxer = Open | Read | Close | Packet | Finished
ToDemuxer = Opened | Data
