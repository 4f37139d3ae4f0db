"""Degradations of a video call: lower resolution, smoothing, blur, noise, light, a video codec, JPEG.

One `Degradation` is drawn per pair and applied to both halves, noise included, so that they differ in the face alone.
Pictures are uint8 (h, w, 3) RGB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext

from detector.face_crop import crop_face, measure_quality
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.training.data.datasets import LocatedFace

    Picture = NDArray[np.uint8]

FACE_RANGE_PX = (64.0, 200.0)
_CODED_FRAMES = 3
_DECODERS = {"libx264": "h264", "libvpx": "vp8"}
_BLURS_PX = (0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
_SHARPENINGS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Coding:
    """One pass through a video codec: libx264 with quantiser `qp`, libvpx with `bits_per_pixel`."""

    codec: str
    qp: int
    bits_per_pixel: float


@dataclass(frozen=True, slots=True)
class Degradation:
    """Parameters of one degradation; applying it draws no random numbers.

    `face_px` is the shorter side of the face box afterwards. `smoothing` imitates beauty filters and denoisers: grey
    levels up to which differences are smoothed, or 0. `box_jitter` is shift x and y, in sides of the box, and scale.
    """

    face_px: float
    smoothing: float
    blur_sigma_px: float
    sharpen: float
    noise_sd: float
    noise_seed: int
    gain: float
    gamma: float
    coding: Coding | None
    jpeg_quality: int | None
    box_jitter: tuple[float, float, float]


def draw(rng: np.random.Generator, native_face_px: float) -> Degradation:
    """Draws a random degradation. Faces are never enlarged beyond their native size."""
    low, high = FACE_RANGE_PX
    face_px = min(native_face_px, float(np.exp(rng.uniform(np.log(low), np.log(high)))))
    return Degradation(
        face_px=face_px,
        smoothing=float(rng.uniform(8, 40)) if rng.random() < 0.2 else 0.0,
        blur_sigma_px=float(rng.uniform(0.3, 1.3)) if rng.random() < 0.35 else 0.0,
        sharpen=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.25 else 0.0,
        noise_sd=float(rng.exponential(2.5)) if rng.random() < 0.5 else 0.0,
        noise_seed=int(rng.integers(2**31)),
        gain=float(rng.uniform(0.7, 1.25)) if rng.random() < 0.4 else 1.0,
        gamma=float(rng.uniform(0.7, 1.4)) if rng.random() < 0.4 else 1.0,
        coding=draw_coding(rng) if rng.random() < 0.85 else None,
        jpeg_quality=int(rng.integers(35, 96)) if rng.random() < 0.35 else None,
        box_jitter=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03)), float(rng.uniform(0.92, 1.08))),
    )


def draw_coding(rng: np.random.Generator) -> Coding:
    """Draws a random codec with a random quality."""
    codec = "libx264" if rng.random() < 0.75 else "libvpx"
    return Coding(codec, int(rng.integers(18, 37)), float(np.exp(rng.uniform(np.log(0.05), np.log(0.6)))))


def apply(rgb: Picture, face: DetectedFace, call: Degradation) -> tuple[Picture, DetectedFace]:
    """Returns the degraded picture and the face on it."""
    factor = min(1.0, call.face_px / min(face.box.width, face.box.height))
    rgb, face = scaled(rgb, face, factor)
    if call.smoothing:
        rgb = smoothed(rgb, call.smoothing)
    if call.blur_sigma_px:
        rgb = blurred(rgb, call.blur_sigma_px)
    rgb = _light(rgb, call)
    if call.sharpen:
        rgb = unsharp(rgb, call.sharpen)
    if call.coding is not None:
        rgb = codec_pass(rgb, call.coding)
    if call.jpeg_quality is not None:
        rgb = jpeg(rgb, call.jpeg_quality)
    return rgb, jittered(face, call.box_jitter)


def scaled(rgb: Picture, face: DetectedFace, factor: float) -> tuple[Picture, DetectedFace]:
    """Returns picture and face at `factor` of their size, area-averaged, with even sides as in video."""
    height, width = (max(32, 2 * round(side * factor / 2)) for side in rgb.shape[:2])
    small = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    across, down = width / rgb.shape[1], height / rgb.shape[0]
    box = face.box
    moved = FaceBox(box.left * across, box.top * down, box.right * across, box.bottom * down)
    return small, replace(face, box=moved, landmarks=face.landmarks * np.array([across, down], dtype=np.float32))


def jittered(face: DetectedFace, jitter: tuple[float, float, float]) -> DetectedFace:
    """Returns the face with its box shifted and scaled, as another face finder might place it."""
    box = face.box
    shift_x, shift_y, scale = jitter
    x, y = box.centre[0] + shift_x * box.width, box.centre[1] + shift_y * box.height
    half_width, half_height = box.width * scale / 2, box.height * scale / 2
    return replace(face, box=FaceBox(x - half_width, y - half_height, x + half_width, y + half_height))


def _light(rgb: Picture, call: Degradation) -> Picture:
    """Applies gamma, gain and noise."""
    if call.gain == 1 and call.gamma == 1 and not call.noise_sd:
        return rgb
    bright = 255 * (rgb.astype(np.float32) / 255) ** np.float32(call.gamma) * np.float32(call.gain)
    if call.noise_sd:
        noise = np.random.default_rng(call.noise_seed).standard_normal(rgb.shape, dtype=np.float32)
        bright += np.float32(call.noise_sd) * noise
    return np.rint(bright).clip(0, 255).astype(np.uint8)


def shift_colours(rng: np.random.Generator, rgb: Picture) -> Picture:
    """Returns the picture with small random changes of colour balance, hue, saturation, brightness and contrast."""
    moved = rgb.astype(np.float32)
    if rng.random() < 0.3:
        moved += rng.uniform(-20, 20, 3).astype(np.float32)
    if rng.random() < 0.5:
        moved = moved * np.float32(rng.uniform(0.9, 1.1)) + np.float32(rng.uniform(-25, 25))
    shifted = np.rint(moved).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        hsv = cv2.cvtColor(shifted, cv2.COLOR_RGB2HSV).astype(np.int16)
        hsv[:, :, 0] = (hsv[:, :, 0] + int(rng.integers(-3, 4))) % 180
        hsv[:, :, 1] = (hsv[:, :, 1] * rng.uniform(0.9, 1.1)).clip(0, 255)
        shifted = np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB))
    return shifted


def match_sharpness(
    rng: np.random.Generator, halves: Sequence[tuple[int, LocatedFace]]
) -> list[tuple[int, LocatedFace]]:
    """Returns a pair with faces of similar sharpness: either the sharper half blurred, or the softer one sharpened.

    The ratio of sharpness is drawn around 1, so that equal sharpness is no cue either.
    """
    wanted = float(np.exp(rng.normal(0, 0.25)))
    levels = [_face_sharpness(item.rgb, item.face) for _, item in halves]
    sharper = int(levels[1] > levels[0])
    if rng.random() < 0.5:
        moved, target = sharper, levels[1 - sharper] * wanted
        tries = [blurred(halves[moved][1].rgb, sigma) for sigma in _BLURS_PX]
    else:
        moved, target = 1 - sharper, levels[sharper] * wanted
        tries = [unsharp(halves[moved][1].rgb, amount) for amount in _SHARPENINGS]
    item = halves[moved][1]
    best = min([item.rgb, *tries], key=lambda rgb: abs(np.log((_face_sharpness(rgb, item.face) + 1) / (target + 1))))
    return [(label, replace(face, rgb=best) if index == moved else face) for index, (label, face) in enumerate(halves)]


def _face_sharpness(rgb: Picture, face: DetectedFace) -> float:
    return measure_quality(crop_face(rgb, face)).sharpness


def blurred(rgb: Picture, sigma_px: float) -> Picture:
    """Returns the picture after a Gaussian blur."""
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma_px), dtype=np.uint8)


def smoothed(rgb: Picture, levels: float) -> Picture:
    """Returns the picture after a bilateral filter, which removes skin texture and keeps edges."""
    return np.asarray(cv2.bilateralFilter(rgb, 7, levels, 3.0), dtype=np.uint8)


def unsharp(rgb: Picture, amount: float) -> Picture:
    """Returns the picture after an unsharp mask of one pixel radius."""
    soft = cv2.GaussianBlur(rgb, (0, 0), 1.0)
    return np.asarray(cv2.addWeighted(rgb, 1 + 2 * amount, soft, -2 * amount, 0), dtype=np.uint8)


def random_codec_pass(rng: np.random.Generator, rgb: Picture) -> Picture:
    """Returns the picture after a random codec at a random quality."""
    return codec_pass(rgb, draw_coding(rng))


def codec_pass(rgb: Picture, coding: Coding) -> Picture:
    """Returns the last of three coded frames, between which the picture moves by a pixel.

    Odd sides are trimmed for the codec and restored by repeating the edge.
    """
    height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
    encoder = av.CodecContext.create(coding.codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = _codec_options(coding, width * height)
    frames = []
    for step in range(_CODED_FRAMES):
        moved = np.roll(rgb[:height, :width], _CODED_FRAMES - 1 - step, axis=1)
        frames.append(av.VideoFrame.from_ndarray(np.ascontiguousarray(moved), format="rgb24"))
        frames[-1].pts = step
    packets = [packet for frame in [*frames, None] for packet in encoder.encode(frame)]
    decoder = av.CodecContext.create(_DECODERS[coding.codec], "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    decoded = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    coded = np.asarray(decoded[-1].to_ndarray(format="rgb24"), dtype=np.uint8)
    pad = ((0, rgb.shape[0] - height), (0, rgb.shape[1] - width), (0, 0))
    return np.pad(coded, pad, mode="edge")


def _codec_options(coding: Coding, pixels: int) -> dict[str, str]:
    if coding.codec == "libx264":
        return {"preset": "veryfast", "tune": "zerolatency", "qp": str(coding.qp)}
    bits_per_s = round(coding.bits_per_pixel * pixels * 25)
    # A positive speed adapts to the clock, so that a busy machine would encode differently.
    return {"deadline": "realtime", "cpu-used": "-8", "b": str(bits_per_s), "lag-in-frames": "0"}


def jpeg(rgb: Picture, quality: int) -> Picture:
    """Returns the picture after JPEG with subsampled chroma, as in cameras."""
    _, content = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    bgr = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(bgr[:, :, ::-1])
