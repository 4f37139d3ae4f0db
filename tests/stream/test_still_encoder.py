"""Still encoder: units decode independently, at every size and orientation."""

from __future__ import annotations

from itertools import islice

import av
import numpy as np
import pytest

from stream.still_encoder import I420Picture, StillEncoder

SAMPLE = "api/demo_media/sample_call.mp4"


def sample_pictures(count: int) -> list[np.ndarray]:
    with av.open(SAMPLE) as clip:
        return [frame.to_ndarray(format="yuv420p") for frame in islice(clip.decode(video=0), count)]


def decoded(unit: bytes) -> np.ndarray:
    decoder = av.CodecContext.create("h264", "r")
    (frame, *_) = [*decoder.decode(av.Packet(unit)), *decoder.decode(None)]
    return frame.to_ndarray(format="yuv420p")


def checked(width: int, height: int) -> bytes:
    """Returns luma that is bright at the top left and dark elsewhere, with grey chroma."""
    luma = np.full((height, width), 40, np.uint8)
    luma[: height // 2, : width // 2] = 200
    half = ((width + 1) // 2) * ((height + 1) // 2)
    return luma.tobytes() + bytes([128]) * (2 * half)


def test_every_unit_can_be_decoded_alone_and_looks_like_its_picture() -> None:
    encoder = StillEncoder()
    for picture in sample_pictures(3):
        error = decoded(encoder.encode(I420Picture(picture.tobytes(), 640, 360))).astype(int) - picture
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 40      # dB; the call itself was compressed to fewer


@pytest.mark.parametrize(("turns", "bright"), [
    (0, (0, 0)), (1, (0, 1)), (2, (1, 1)), (3, (1, 0)),      # row, column of the bright quarter
])
def test_quarter_turns_are_applied(turns: int, bright: tuple[int, int]) -> None:
    shown = decoded(StillEncoder().encode(I420Picture(checked(64, 32), 64, 32, turns)))
    height, width = shown.shape[0] * 2 // 3, shown.shape[1]
    assert (width, height) == ((64, 32) if turns % 2 == 0 else (32, 64))
    quarters = shown[:height].reshape(2, height // 2, 2, width // 2).mean(axis=(1, 3))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == bright


def test_odd_sizes_lose_their_last_row_and_column() -> None:
    shown = decoded(StillEncoder().encode(I420Picture(checked(33, 17), 33, 17)))
    assert shown.shape == (16 * 3 // 2, 32)


def test_the_size_may_change_from_picture_to_picture() -> None:
    encoder = StillEncoder()
    for width, height in ((64, 32), (128, 64), (64, 32)):
        picture = I420Picture(checked(width, height), width, height)
        assert decoded(encoder.encode(picture)).shape == (height * 3 // 2, width)
