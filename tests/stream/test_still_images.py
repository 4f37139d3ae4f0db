from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from stream.errors import MediaRefused
from stream.media_limits import MediaLimits
from stream.still_images import decode_still, read_header
from tests.synthetic import pattern, picture

LIMITS = MediaLimits()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(side: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    content = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + content + png_chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    """A real JPEG whose frame header says something else."""
    data = bytearray(picture(32, 32))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def refusal(data: bytes) -> str:
    with pytest.raises(MediaRefused) as refused:
        decode_still(data, LIMITS)
    return refused.value.code


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_pictures_come_out_as_rgb(extension: str) -> None:
    rgb = decode_still(picture(64, 48, extension), LIMITS)
    assert rgb.shape == (48, 64, 3)
    assert np.abs(rgb.astype(int) - pattern(5, 64, 48)).mean() < (6 if extension == ".jpg" else 0.1)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_headers_tell_size_and_completeness(extension: str) -> None:
    data = picture(64, 48, extension)
    header = read_header(data)
    assert (header.width_px, header.height_px, header.complete) == (64, 48, True)
    assert not read_header(data[:-4]).complete


@pytest.mark.parametrize(("orientation", "corner"), [(1, "red"), (6, "blue"), (3, "green"), (0, "red"), (65535, "red")])
def test_exif_orientation_is_applied_once(orientation: int, corner: str) -> None:
    rgb = np.zeros((40, 80, 3), np.uint8)
    rgb[:20, :20], rgb[:20, -20:] = (255, 0, 0), (255, 255, 255)
    rgb[-20:, :20], rgb[-20:, -20:] = (0, 0, 255), (0, 255, 0)
    data = bytes(cv2.imencode(".jpg", rgb[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, 100))[1])
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HH", orientation, 0) + bytes(4)
    upright = decode_still(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:], LIMITS)
    assert upright.shape[:2] == ((80, 40) if orientation == 6 else (40, 80))
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    assert np.abs(upright[5, 5].astype(int) - colours[corner]).max() < 30


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_cut_pictures_are_refused_at_any_point(extension: str) -> None:
    data = picture(64, 48, extension)
    codes = {refusal(data[:size]) for size in range(8, len(data) - 2, 7)}
    assert codes <= {"truncated", "undecodable"}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (png_bomb(18_000), "too_large"),
        (png_bomb(2**31 - 1), "too_large"),
        (jpeg_of_size(65_500, 65_500), "too_large"),
        (jpeg_of_size(0, 0), "undecodable"),
        (png_bomb(0), "undecodable"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "undecodable"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff" + b"\xff\xe0\x00\x02" * 60_000, "undecodable"),
        (b"\xff\xd8\xff\xd9", "truncated"),
        (b"BM" + bytes(60), "unsupported_media"),
    ],
)
def test_hostile_pictures_are_refused_before_decoding(data: bytes, code: str) -> None:
    assert refusal(data) == code


def test_a_changed_byte_in_a_png_is_noticed() -> None:
    data = bytearray(picture(64, 48, ".png"))
    data[len(data) // 2] ^= 0x10
    assert refusal(bytes(data)) == "undecodable"


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 4)])
def test_grey_and_transparent_pictures_become_rgb(shape: tuple[int, ...]) -> None:
    data = bytes(cv2.imencode(".png", np.full(shape, 128, np.uint8))[1])
    assert decode_still(data, LIMITS).shape == (48, 64, 3)


def test_sixteen_bit_pictures_become_eight_bit() -> None:
    data = bytes(cv2.imencode(".png", np.full((48, 64, 3), 0x8000, np.uint16))[1])
    rgb = decode_still(data, LIMITS)
    assert rgb.dtype == np.uint8
    assert abs(int(rgb[0, 0, 0]) - 128) <= 1
