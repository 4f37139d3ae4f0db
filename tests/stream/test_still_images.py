from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image

from stream.errors import MediaRefused
from stream.media_limits import MediaLimits
from stream.still_images import decode_still, read_header
from tests.heif import heic
from tests.synthetic import pattern, picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMITS = MediaLimits()


def smooth(width: int, height: int) -> NDArray[np.uint8]:
    """Returns RGB uint8 (height, width, 3) without fine detail, which lossy coders would change."""
    return np.asarray(cv2.GaussianBlur(pattern(5, width, height), (0, 0), 3), np.uint8)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(side: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    content = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + content + png_chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    """Returns a real JPEG whose frame header gives a false size."""
    data = bytearray(picture(32, 32))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def refusal(data: bytes) -> str:
    with pytest.raises(MediaRefused) as refused:
        decode_still(data, LIMITS)
    return refused.value.code


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_pictures_are_decoded_to_rgb(extension: str) -> None:
    rgb = decode_still(picture(64, 48, extension), LIMITS)
    assert rgb.shape == (48, 64, 3)
    assert np.abs(rgb.astype(int) - pattern(5, 64, 48)).mean() < (6 if extension == ".jpg" else 0.1)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_headers_give_size_and_completeness(extension: str) -> None:
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
def test_pictures_truncated_at_any_point_are_refused(extension: str) -> None:
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
        (b"BM" + bytes(60), "undecodable"),
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


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_pictures_of_other_kinds_are_decoded_to_rgb(kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(smooth(96, 64)).save(file, kind, **({"quality": 95} if kind in ("WEBP", "AVIF") else {}))
    rgb = decode_still(file.getvalue(), LIMITS)
    assert rgb.shape == (64, 96, 3)
    assert np.abs(rgb.astype(int) - smooth(96, 64)).mean() < 8


def test_heic_is_decoded_to_rgb() -> None:
    rgb = decode_still(heic(smooth(96, 64)), LIMITS)
    assert rgb.shape == (64, 96, 3)
    assert np.abs(rgb.astype(int) - smooth(96, 64)).mean() < 8


def test_the_first_frame_of_an_animation_is_decoded() -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert decode_still(file.getvalue(), LIMITS)[5, 5].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_limits_hold_for_pictures_of_every_kind(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 200)).save(file, kind)
    with pytest.raises(MediaRefused) as refused:
        decode_still(file.getvalue(), MediaLimits(picture_pixels=50_000))
    assert (refused.value.code, refused.value.status) == ("too_large", 413)
    assert "60000 pixels" in refused.value.message
    assert "50000" in refused.value.message
    for end in (20, len(file.getvalue()) // 2):
        with pytest.raises(MediaRefused):
            decode_still(file.getvalue()[:end], LIMITS)


def test_a_large_jpeg_is_shrunk_while_it_is_decoded() -> None:
    data = bytes(cv2.imencode(".jpg", smooth(1600, 1200)[:, :, ::-1])[1])
    rgb = decode_still(data, MediaLimits(picture_pixels=500_000))
    assert rgb.shape == (600, 800, 3)
    assert np.abs(rgb.astype(int) - cv2.resize(smooth(1600, 1200), (800, 600), interpolation=cv2.INTER_AREA)).mean() < 4
    with pytest.raises(MediaRefused, match="pixels are over the limit"):
        decode_still(data, MediaLimits(picture_pixels=500_000, shrunk_picture_pixels=1_000_000))


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_that_lacks_only_its_end_mark_is_accepted(progressive: int) -> None:
    data = bytes(cv2.imencode(".jpg", smooth(96, 64)[:, :, ::-1], (cv2.IMWRITE_JPEG_PROGRESSIVE, progressive))[1])
    assert np.array_equal(decode_still(data[:-2], LIMITS), decode_still(data, LIMITS))
    for missing in (40, len(data) // 3):
        assert refusal(data[:-missing]) == "truncated"
