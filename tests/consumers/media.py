"""Test media in the media contract: small pictures of a slowly moving face, and the sample call."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from consumers.broker import Message
from consumers.media_contract import ContentType, EndOfStream, Item, Media, RecordIdentity, encode
from consumers.segmenter import TIMEBASE, media_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from consumers.segmenter import SegmenterOptions

EPOCH = 1_700_000_000
STEPS = 16
MILLISECONDS = Fraction(1, 1000)

SAMPLE_CALL = Path(__file__).resolve().parents[2] / "api" / "demo_media" / "sample_call.mp4"
_FACES = Path(__file__).resolve().parents[1] / "media"


@cache
def face_picture(person: str, step: int, width_px: int = 320) -> bytes:
    """Returns a JPEG of a person, shifted by one pixel per step, modulo `STEPS`."""
    bgr = cv2.imread(str(_FACES / f"{person}.jpg"))
    assert bgr is not None
    factor = width_px / bgr.shape[1]
    small: NDArray[np.uint8] = cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    moved = np.roll(small, step % STEPS, axis=1)
    return bytes(cv2.imencode(".jpg", moved, (cv2.IMWRITE_JPEG_QUALITY, 85))[1])


def frame(stream: str, number: int, fps: float, payload: bytes, epoch: int = EPOCH) -> Media:
    """Returns a frame; its capture time is the epoch plus its media time."""
    pts_ms = round(number * 1000 / fps)
    identity = RecordIdentity(stream, epoch, number, epoch + pts_ms / 1000)
    return Media(identity, ContentType.JPEG, pts_ms, MILLISECONDS, payload)


def call(stream: str, frames: int, fps: float = 2.0, person: str = "obama", epoch: int = EPOCH) -> Iterator[Item]:
    """Yields a complete stream of pictures with its end."""
    for number in range(frames):
        yield frame(stream, number, fps, face_picture(person, number % STEPS), epoch)
    yield EndOfStream(RecordIdentity(stream, epoch, frames, epoch + frames / fps))


def record(topic: str, item: Item, partition: int | None = None) -> Message:
    encoded = encode(item)
    return Message(topic, encoded.key, encoded.value, encoded.headers, partition)


def clip(stream: str, options: SegmenterOptions, seconds: float) -> Iterator[Item]:
    """Yields the first `seconds` of the sample call, segmented with these options, and an end."""
    sequence, reached_s = 0, 0.0
    for sequence, piece in enumerate(media_pieces(str(SAMPLE_CALL), options)):
        reached_s = float(piece.ticks * TIMEBASE)
        if reached_s >= seconds:
            break
        identity = RecordIdentity(stream, EPOCH, sequence, EPOCH + reached_s)
        yield Media(identity, piece.content_type, piece.ticks, TIMEBASE, piece.payload, piece.keyframe)
    yield EndOfStream(RecordIdentity(stream, EPOCH, sequence + 1, EPOCH + reached_s))
