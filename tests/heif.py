"""HEIC pictures made on the spot: one HEVC key frame in the smallest HEIF file that holds it (ISO/IEC 23008-12)."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def heic(rgb: NDArray[np.uint8]) -> bytes:
    """The picture, uint8 (h, w, 3) with even sides, as HEIC."""
    configuration, sample = _hevc(rgb)
    height, width = rgb.shape[:2]
    ftyp = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")

    def meta(sample_at: int) -> bytes:
        return _box(
            b"meta",
            bytes(4),
            _box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
            _box(b"pitm", bytes(4) + struct.pack(">H", 1)),
            _box(b"iloc", bytes(4) + b"\x44\x00" + struct.pack(">HHHHII", 1, 1, 0, 1, sample_at, len(sample))),
            _box(
                b"iinf",
                bytes(4) + struct.pack(">H", 1),
                _box(b"infe", b"\x02\0\0\0" + struct.pack(">HH", 1, 0) + b"hvc1\0"),
            ),
            _box(
                b"iprp",
                _box(
                    b"ipco",
                    _box(b"hvcC", configuration),
                    _box(b"ispe", bytes(4) + struct.pack(">II", width, height)),
                ),
                _box(b"ipma", bytes(4) + struct.pack(">IHBBB", 1, 1, 2, 0x81, 0x02)),
            ),
        )

    size = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(size) + _box(b"mdat", sample)


def _box(kind: bytes, *contents: bytes) -> bytes:
    body = b"".join(contents)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _hevc(rgb: NDArray[np.uint8]) -> tuple[bytes, bytes]:
    """(configuration record, length-prefixed sample) of one intra frame, by way of an MP4 in memory."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("libx265", rate=1)
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[:2], "yuv420p"
        stream.options = {"preset": "ultrafast", "x265-params": "log-level=none:crf=8:info=0", "tag": "hvc1"}
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts = 0       # the muxer refuses packets without a time
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        stream = container.streams.video[0]
        sample = bytes(next(packet for packet in container.demux(stream) if packet.size))
        return bytes(stream.codec_context.extradata), sample
