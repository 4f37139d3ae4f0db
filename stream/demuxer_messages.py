"""What a demuxing process and its parent say to each other: MessagePack, four bytes of length before each message.

The process has no network and no files. It asks for what it wants to read, one request at a time, and gets an answer
to each; in between it sends the packets of the video.
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
    """What the process starts with; `socket_fd` is its end of the socket pair."""

    socket_fd: int
    parent_pid: int
    url: str
    address_space_bytes: int = 1024 * 2**20
    max_files: int = 32
    packet_bytes: int = 8 * 2**20


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Opens a URL for reading from byte `offset` to before byte `end`; -1 for the end of the file."""

    handle: int
    url: str
    offset: int = 0
    end: int = -1


class Read(msgspec.Struct, frozen=True, tag="read"):
    """Read on; at most so many bytes."""

    handle: int
    size: int


class Close(msgspec.Struct, frozen=True, tag="close"):
    """Read no more of this. There is no answer."""

    handle: int


class Packet(msgspec.Struct, frozen=True, tag="packet"):
    """One encoded frame, H.264 as Annex-B, with the container's display transform. There is no answer."""

    codec: Codec
    payload: bytes
    pts_s: float
    keyframe: bool
    display: DisplayTransform = AS_DECODED


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """Nothing follows. `code` is empty at a clean end, or no_video, unsupported_codec, bad_media."""

    code: str = ""
    message: str = ""


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """`size` is the length of the whole, -1 where it is not known; `seekable` says whether offsets are honoured."""

    is_there: bool
    size: int = -1
    seekable: bool = False


class Data(msgspec.Struct, frozen=True, tag="data"):
    """Empty at the end."""

    data: bytes
    is_broken: bool = False


FromDemuxer = Open | Read | Close | Packet | Finished
ToDemuxer = Opened | Data
