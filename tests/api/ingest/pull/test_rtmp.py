"""RTMP in its parts; a real server is in `tests/e2e/test_pulls.py`."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingest.pull.amf0 import NotAmf, decode, encode
from api.ingest.pull.errors import PullFailed
from api.ingest.pull.flv_h264 import AvcReader
from api.ingest.pull.rtmp_chunks import ChunkReader, NotRtmp, RtmpMessage, chunked


@given(
    messages=st.lists(st.tuples(st.sampled_from((8, 9, 18, 20)), st.integers(0, 2**32 - 1), st.binary(max_size=700))),
    size=st.integers(1, 400),
)
def test_messages_survive_being_cut_into_chunks(messages: list[tuple[int, int, bytes]], size: int) -> None:
    data = b"".join(chunked(RtmpMessage(kind, stream, 0, payload)) for kind, stream, payload in messages)
    reader = ChunkReader()
    read = [message for at in range(0, len(data), size) for message in reader.feed(data[at : at + size])]
    assert read == [RtmpMessage(kind, stream, 0, payload) for kind, stream, payload in messages]


@given(st.binary(max_size=300))
def test_malformed_rtmp_is_refused_or_incomplete(data: bytes) -> None:
    for read, expected in ((ChunkReader().feed, NotRtmp), (decode, NotAmf), (AvcReader().read, PullFailed)):
        with suppress(expected):
            read(data)      # type: ignore[operator]


def test_later_chunk_forms_add_to_the_time() -> None:
    first = chunked(RtmpMessage(9, 1, 0, b"a" * 3))
    delta = b"\x43" + (40).to_bytes(3, "big") + (2).to_bytes(3, "big") + b"\x09bb"
    same = b"\xc3cc"
    extended = b"\x83\xff\xff\xff" + (2**24 + 5).to_bytes(4, "big") + b"dd"
    read = ChunkReader().feed(first + delta + same + extended)
    assert [(message.time_ms, message.payload) for message in read] == [
        (0, b"aaa"), (40, b"bb"), (80, b"cc"), (80 + 2**24 + 5, b"dd"),
    ]


def test_commands_round_trip() -> None:
    values = ["connect", 1.0, {"app": "live", "fpad": False, "inner": {"x": None}}, None, True]
    assert decode(encode(*values)) == values     # type: ignore[arg-type]
    assert decode(b"\x08\0\0\0\1\0\1a\0" + bytes(8) + b"\0\0\x09" + b"\x0a\0\0\0\1\x05") == [{"a": 0.0}, [None]]


CONFIG = bytes.fromhex("17000000000142c01effe100046742c01e01000268ce")


def test_frames_get_their_parameter_sets() -> None:
    reader = AvcReader()
    assert reader.read(CONFIG) is None
    key = reader.read(bytes.fromhex("1701ffffff000000036588ab"))
    assert key is not None
    assert key.payload == bytes.fromhex("000000016742c01e0000000168ce000000016588ab")
    assert (key.offset_ms, key.keyframe) == (-1, True)
    enhanced = reader.read(b"\xa3avc1" + bytes.fromhex("00000002419a"))
    assert enhanced is not None
    assert (enhanced.payload, enhanced.keyframe) == (bytes.fromhex("00000001419a"), False)
    for other in (b"\x90hvc1aaaa", b"\x12aaaaaa"):
        with pytest.raises(PullFailed, match="codec"):
            reader.read(other)
