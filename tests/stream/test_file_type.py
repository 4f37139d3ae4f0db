from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from stream.file_type import SNIFF_BYTES, MediaKind, is_cut_off, plays_until_cut, sniff
from tests.synthetic import Clip, fragmented, picture, video

if TYPE_CHECKING:
    from pathlib import Path

MADE = [
    ("a.mp4", "libx264", MediaKind.MP4),
    ("a.mov", "libx264", MediaKind.MP4),
    ("a.avi", "mpeg4", MediaKind.AVI),
    ("a.mkv", "libx264", MediaKind.MATROSKA),
    ("a.webm", "libvpx", MediaKind.MATROSKA),
    ("a.ts", "libx264", MediaKind.MPEGTS),
    ("a.mpg", "mpeg2video", MediaKind.MPEGPS),
    ("a.flv", "libx264", MediaKind.FLV),
    ("a.3gp", "mpeg4", MediaKind.MP4),
    ("a.m4v", "libx264", MediaKind.MP4),
]


@pytest.mark.parametrize(("name", "encoder", "kind"), MADE)
def test_containers_are_known_by_their_first_bytes(tmp_path: Path, name: str, encoder: str, kind: MediaKind) -> None:
    data = video(tmp_path / name, Clip(encoder=encoder, frames=5)).read_bytes()
    assert sniff(data[:SNIFF_BYTES]) is kind
    assert not is_cut_off(io.BytesIO(data), kind, len(data))


@pytest.mark.parametrize(("name", "encoder", "kind"), MADE[:3])
def test_truncated_files_are_recognised(tmp_path: Path, name: str, encoder: str, kind: MediaKind) -> None:
    data = video(tmp_path / name, Clip(encoder=encoder, frames=5)).read_bytes()
    for size in (len(data) - 1, len(data) // 2, 64):
        cut = data[:size]
        assert sniff(cut) is kind
        if name != "a.avi" or size < len(data) - 1:     # AVI pads by one byte
            assert is_cut_off(io.BytesIO(cut), kind, len(cut))


def test_matroska_with_an_unknown_length_is_never_cut_off() -> None:
    header = bytes.fromhex("1a45dfa3 82 0102") + bytes.fromhex("18538067 01ffffffffffffff")
    assert not is_cut_off(io.BytesIO(header), MediaKind.MATROSKA, len(header))
    known = bytes.fromhex("1a45dfa3 82 0102") + bytes.fromhex("18538067 8a")
    assert is_cut_off(io.BytesIO(known), MediaKind.MATROSKA, len(known))


@pytest.mark.parametrize(("extension", "kind"), [(".jpg", MediaKind.JPEG), (".png", MediaKind.PNG)])
def test_pictures(extension: str, kind: MediaKind) -> None:
    assert sniff(picture(16, 16, extension)) is kind
    assert kind.is_picture


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"ffconcat version 1.0\nfile 'a.mp4'\n",
        b"#EXTM3U\n#EXTINF:1,\nfile:a.ts\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"PK\x03\x04" + bytes(100),
        b"GIF90a" + bytes(100),
        b"RIFF\0\0\0\0WAVE",
        b"%PDF-1.7",
        b"\x47" + bytes(300),
    ],
)
def test_other_content_has_no_kind(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize("cut", [1, 37, 100, 187])
def test_transport_streams_may_start_within_a_packet(tmp_path: Path, cut: int) -> None:
    data = video(tmp_path / "a.ts", Clip(frames=20)).read_bytes()
    assert sniff(data[cut : cut + SNIFF_BYTES]) is MediaKind.MPEGTS


def test_m2ts_has_packets_of_192_bytes(tmp_path: Path) -> None:
    data = video(tmp_path / "a.ts", Clip(frames=20)).read_bytes()
    packets = [bytes(4) + data[at : at + 188] for at in range(0, len(data), 188)]
    assert sniff(b"".join(packets)[:SNIFF_BYTES]) is MediaKind.MPEGTS


@pytest.mark.parametrize(("brands", "kind"), [
    (b"heic\0\0\0\0mif1heic", MediaKind.HEIF), (b"mif1\0\0\0\0mif1avif", MediaKind.AVIF),
    (b"avif\0\0\0\0avifmif1", MediaKind.AVIF), (b"isom\0\0\0\0isomavc1", MediaKind.MP4),
    (b"mp42\0\0\0\0heic", MediaKind.MP4),
])  # fmt: skip
def test_brands_tell_pictures_from_videos(brands: bytes, kind: MediaKind) -> None:
    assert sniff((8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands + b"rest") is kind


def test_a_fragmented_mp4_plays_until_its_cut(tmp_path: Path) -> None:
    whole = video(tmp_path / "a.mp4", Clip(frames=60, gop=10)).read_bytes()
    assert not plays_until_cut(io.BytesIO(whole[:-100]), MediaKind.MP4)
    fragments = fragmented(tmp_path / "f.mp4").read_bytes()
    assert is_cut_off(io.BytesIO(fragments[:-100]), MediaKind.MP4, len(fragments) - 100)
    assert plays_until_cut(io.BytesIO(fragments[:-100]), MediaKind.MP4)
    first = fragments.index(b"mdat")
    assert not plays_until_cut(io.BytesIO(fragments[: first + 20]), MediaKind.MP4)
