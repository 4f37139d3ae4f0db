"""Hostile and unusual files, generated on demand. Each must end in a typed refusal or a verdict."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from tests.heif import heic
from tests.synthetic import Clip, audio_only, pattern, picture, video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JUDGED = "judged"
BROKEN = frozenset(("truncated", "undecodable", "no_frames", "no_video"))
Case = tuple[bytes, frozenset[str]]


def corpus(folder: Path) -> Iterator[tuple[str, Case]]:
    """Returns content and allowed result codes of each file by name; `JUDGED` stands for a verdict."""
    for make in (_no_media, _bombs, _cut, _broken_boxes, _codecs, _odd_but_whole, _mislabelled, _other_pictures):
        yield from make(folder).items()


def _one(code: str) -> frozenset[str]:
    return frozenset((code,))


def _no_media(folder: Path) -> dict[str, Case]:
    rng = np.random.default_rng(1)
    unknown = _one("unsupported_media")
    svg = b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="s">&x;</svg>'
    return {
        "empty": (b"", _one("empty_file")),
        "one byte": (b"\0", unknown),
        "random": (rng.bytes(5000), unknown),
        "ffconcat script": (b"ffconcat version 1.0\nfile '/etc/passwd'\nduration 1\n", unknown),
        "playlist": (b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", unknown),
        "sdp": (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n", unknown),
        "svg with an entity": (svg, unknown),
        "zip": (b"PK\x03\x04\x14\0\0\0\x08\0" + rng.bytes(500), unknown),
        "html": (b"<!doctype html><script>alert(1)</script>", unknown),
        "id3 and mp3": (b"ID3\x04\0\0\0\0\0\0" + b"\xff\xfb\x90\0" * 200, unknown),
        "sound alone": (audio_only(folder / "sound.mp4").read_bytes(), _one("no_video")),
    }


def _bombs(folder: Path) -> dict[str, Case]:
    large = _one("too_large")
    wide = Clip(8192, 2304, frames=1, encoder="mjpeg", pixels="yuvj420p")
    return {
        "png of 18000 squared": (png_of(18_000, 18_000, zlib.compress(bytes(18_001 * 18_000), 9)), large),
        "png of 2^31": (png_of(2**31 - 1, 2**31 - 1, b""), large),
        "png of 8193 x 1": (png_of(8193, 1, zlib.compress(bytes(3 * 8193 + 1))), large),
        "jpeg of 65500 squared": (jpeg_of(65_500, 65_500), large),
        "video of 8192 x 2304": (video(folder / "l.mkv", wide).read_bytes(), large),
        "video of 1000 hours": (_patched(folder, b"mvhd", 20, b"\xff\xff\xff\xff"), _one(JUDGED)),
        "jpeg of endless segments": (b"\xff\xd8\xff" + b"\xff\xe0\x00\x02" * 200_000, BROKEN),
    }


def _cut(folder: Path) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    names = {"mp4": "libx264", "avi": "mpeg4", "mkv": "libx264", "ts": "libx264", "webm": "libvpx"}
    for extension, encoder in names.items():
        data = video(folder / f"cut.{extension}", Clip(encoder=encoder, frames=15)).read_bytes()
        for share in (0.02, 0.3, 0.6, 0.95):
            content = data[: int(len(data) * share)]
            allowed = BROKEN if extension in ("mp4", "avi") else BROKEN | {JUDGED, "unsupported_media"}
            cases[f"{extension} cut at {share:.0%}"] = (content, allowed)
    for extension in (".jpg", ".png"):
        data = picture(200, 150, extension)
        for share in (0.1, 0.5, 0.98):
            cases[f"{extension} cut at {share:.0%}"] = (data[: int(len(data) * share)], BROKEN)
    return cases


def _broken_boxes(folder: Path) -> dict[str, Case]:
    whole = video(folder / "whole.mp4", Clip(frames=15)).read_bytes()
    zeroed = bytearray(whole)
    start = whole.index(b"mdat") + 4
    zeroed[start : start + 20_000] = bytes(len(zeroed[start : start + 20_000]))
    deep = whole[:32]
    for _ in range(4000):
        deep += struct.pack(">I4s", 2**31 - 1, b"moov")
    any_end = BROKEN | {JUDGED, "too_large"}
    return {
        "magic and noise mp4": (b"\0\0\0\x18ftypmp42" + np.random.default_rng(2).bytes(4000), BROKEN),
        "magic and noise avi": (b"RIFF\xa0\x0f\0\0AVI " + np.random.default_rng(3).bytes(4000), BROKEN),
        "magic and noise mkv": (b"\x1a\x45\xdf\xa3" + np.random.default_rng(4).bytes(4000), BROKEN),
        "magic and noise jpeg": (b"\xff\xd8\xff\xe0" + np.random.default_rng(5).bytes(4000), BROKEN | {"too_large"}),
        "magic and noise png": (b"\x89PNG\r\n\x1a\n" + np.random.default_rng(6).bytes(4000), BROKEN),
        "sync bytes of ts alone": ((b"\x47" + bytes(187)) * 300, BROKEN),
        "zeroed content": (bytes(zeroed), BROKEN),
        "sample count of 2^32 - 1": (_patched(folder, b"stsz", 8, b"\xff\xff\xff\xff"), any_end),
        "chunk offsets outside": (_patched(folder, b"stco", 8, b"\x7f\xff\xff\xff"), any_end),
        "track of 65535 squared": (_patched(folder, b"tkhd", 76, b"\xff\xff\0\0\xff\xff\0\0"), any_end),
        "time scale 0": (_patched(folder, b"mdhd", 12, bytes(4)), any_end),
        "box of no size": (whole[:32] + b"\0\0\0\x01mdat" + b"\xff" * 8 + whole[32:], BROKEN),
        "nested boxes": (deep, BROKEN),
    }


def _codecs(folder: Path) -> dict[str, Case]:
    pixels = {"ffv1": "yuv420p", "magicyuv": "gbrp", "huffyuv": "yuv422p", "rawvideo": "yuv420p", "png": "rgb24"}
    return {
        f"{encoder} in avi": (
            video(folder / f"{encoder}.avi", Clip(encoder=encoder, pixels=layout, frames=5)).read_bytes(),
            _one("unsupported_media"),
        )
        for encoder, layout in pixels.items()
    }


def _odd_but_whole(folder: Path) -> dict[str, Case]:
    clips = {
        "1 x 1": Clip(1, 1, frames=2, encoder="mpeg4"),
        "3 x 5": Clip(3, 5, frames=2, encoder="mpeg4"),
        "1001 x 3": Clip(1001, 3, frames=2, encoder="mjpeg", pixels="yuvj444p"),
        "16 x 4096": Clip(16, 4096, frames=2),
        "one frame": Clip(frames=1),
        "10 bit": Clip(frames=3, pixels="yuv420p10le"),
        "4:4:4": Clip(frames=3, pixels="yuv444p"),
        "240 fps": Clip(frames=48, fps=240),
        "vp9": Clip(frames=5, encoder="libvpx-vp9"),
    }
    cases: dict[str, Case] = {}
    for number, (name, clip) in enumerate(clips.items()):
        cases[name] = (video(folder / f"odd{number}.mkv", clip).read_bytes(), _one(JUDGED))
    parts = [video(folder / f"{side}.ts", Clip(side, side, frames=10)).read_bytes() for side in (320, 160, 64)]
    cases["sizes that change"] = (b"".join(parts), _one(JUDGED))
    for name, shape in {"1 x 1 png": (1, 1, 3), "grey png": (50, 60), "png with alpha": (50, 60, 4)}.items():
        cases[name] = (bytes(cv2.imencode(".png", np.full(shape, 90, np.uint8))[1]), _one(JUDGED))
    return cases


def _mislabelled(folder: Path) -> dict[str, Case]:
    whole = video(folder / "poly.mp4", Clip(frames=5)).read_bytes()
    webm = video(folder / "poly.webm", Clip(encoder="libvpx", frames=5)).read_bytes()
    jpeg = picture(64, 48)
    return {
        "jpeg before mp4": (jpeg + whole, _one(JUDGED)),
        "mp4 before zip": (whole + b"\0\0\0\0PK\x03\x04" + bytes(100), _one(JUDGED) | BROKEN),
        "mp4 magic on webm": (b"\0\0\0\x18ftypmp42" + webm, BROKEN),
        "ts magic on jpeg": (b"\x47" + jpeg, _one("unsupported_media")),
    }


def _other_pictures(folder: Path) -> dict[str, Case]:
    """Returns pictures for Pillow's decoders: whole, truncated, with false sizes, or wrapping other pictures."""
    refused = BROKEN | _one("too_large")
    cases: dict[str, Case] = {
        "gif of 65535 squared": (b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(500), refused),
        "bmp of 2^31": (
            b"BM" + bytes(8) + struct.pack("<IIiiHH", 54, 40, 2**31 - 1, 2**31 - 1, 1, 24) + bytes(24), refused
        ),
        "heif of boxes alone": (b"\0\0\0\x14ftypheic\0\0\0\0mif1" + bytes(64), refused),
        "avif of noise": (b"\0\0\0\x14ftypavif\0\0\0\0mif1" + np.random.default_rng(2).bytes(500), refused),
    }
    for kind in ("WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        file = io.BytesIO()
        Image.fromarray(pattern(5, 64, 48)).save(file, kind)
        data = file.getvalue()
        cases[f"whole {kind}"] = (data, _one(JUDGED))
        cases[f"half a {kind}"] = (data[: len(data) // 2], refused | _one(JUDGED))
        bomb = io.BytesIO()
        Image.new("L", (8000, 8000)).save(bomb, kind)
        cases[f"{kind} of 64 megapixels"] = (bomb.getvalue(), refused)
    cases["whole HEIC"] = (heic(pattern(5, 64, 48)), _one(JUDGED))
    return cases


def png_of(width: int, height: int, content: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    data = bytearray(picture(32, 32))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def mutations(data: bytes, seed: int) -> Iterator[bytes]:
    """Yields variants without end: bytes changed, runs removed, repeated or zeroed, lengths made extreme."""
    rng = np.random.default_rng(seed)
    while True:
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 8))):
            _mutate(changed, rng)
        yield bytes(changed)


def _mutate(data: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(0, max(1, len(data) - 8)))
    size = int(rng.integers(1, 400))
    kinds: list[Callable[[], None]] = [
        lambda: data.__setitem__(slice(at, at + 1), rng.bytes(1)),
        lambda: data.__setitem__(slice(at, at + 4), bytes(rng.choice([0x00, 0x7F, 0xFF], 4).tolist())),
        lambda: data.__delitem__(slice(at, at + size)),
        lambda: data.__setitem__(slice(at, at), data[at : at + size]),
        lambda: data.__setitem__(slice(at, at + size), bytes(len(data[at : at + size]))),
        lambda: data.__setitem__(slice(at, at + size), rng.bytes(len(data[at : at + size]))),
    ]
    kinds[int(rng.integers(0, len(kinds)))]()


def _patched(folder: Path, box: bytes, offset: int, value: bytes) -> bytes:
    """Returns a whole MP4 with `value` written `offset` bytes after the name of a box."""
    data = bytearray(video(folder / "patched.mp4", Clip(frames=15)).read_bytes())
    at = data.index(box) + 4 + offset
    data[at : at + len(value)] = value
    return bytes(data)
