"""Face blending: pseudo-fakes from real photos, a face blended into itself or into that of another person.

Both halves of a pair come from the same picture and are bit-identical outside the mask, which follows the five
landmarks. Self-blends follow Shiohara and Yamasaki (2022), two-person blends Face X-ray (Li et al. 2020), both as
described in the papers, with our own parameter values.
All pictures are uint8 (h, w, 3) RGB; all masks float32 (h, w) in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector.training.data.degradations import random_codec_pass, shift_colours, unsharp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.training.data.datasets import LocatedFace
    from detector.types import DetectedFace

    Picture = NDArray[np.uint8]
    Mask = NDArray[np.float32]
    Points = NDArray[np.float32]

_MASK_VERTICES = 64
# Pixel constants of the procedure hold for a crop of this width.
_REFERENCE_PX = 256
_STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
_SWAP_STRENGTHS = (0.75, 1.0, 1.0, 1.0)
# Sides, in pixels, of the square that a face swapper generates.
_SWAPPER_PX = (64, 96, 128, 160, 192, 224)


@dataclass(frozen=True, slots=True, eq=False)
class BlendedPair:
    """A real picture and its fake, which are equal wherever `mask` is 0."""

    real: Picture
    fake: Picture
    mask: Mask
    face: DetectedFace
    kind: str


def self_blend(rng: np.random.Generator, item: LocatedFace) -> BlendedPair:
    """Returns the face blended over itself, shifted, deformed and with other colour or sharpness."""
    target, source = item.rgb.copy(), item.rgb.copy()
    # Whether the inside becomes softer or sharper than the outside is random: a network that learns "soft inside" would
    # fail on every swapper that sharpens.
    if rng.random() < 0.5:
        source = _alter_statistics(rng, source, item.face)
    else:
        target = _alter_statistics(rng, target, item.face)
    mask = face_mask(rng, item.face, target.shape[:2])
    shift = _small_affine(rng, item.face)
    source, mask = _warp_picture(source, shift), _warp_mask(mask, shift)
    mask = soften(rng, _deform(rng, mask, item.face), item.face)
    mask *= np.float32(rng.choice(_STRENGTHS))
    return BlendedPair(target, alpha_blend(source, target, mask), mask, item.face, "self")


def swap_face(rng: np.random.Generator, target: LocatedFace, source: LocatedFace) -> BlendedPair:
    """Returns a blend of another person's face, aligned by five landmarks and matched in colour."""
    rgb = target.rgb
    if rng.random() < 0.5:
        rgb = _alter_statistics(rng, rgb, target.face)
    aligned = _through_swapper(rng, source, target)
    if rng.random() < 0.3:
        aligned = unsharp(aligned, rng.uniform(0.2, 0.8))
    # Areas that the source picture does not cover keep the target.
    covered = _coverage(source, target)
    return paste(rng, replace(target, rgb=rgb), aligned, covered * soft_face_mask(rng, target), kind="swap")


def swap_mouth(rng: np.random.Generator, target: LocatedFace, source: LocatedFace) -> BlendedPair:
    """Returns a blend of another person's mouth alone, as in lip-syncing."""
    aligned = _through_swapper(rng, source, target)
    mask = soften(rng, mouth_mask(rng, target.face, target.rgb.shape[:2]), target.face)
    return paste(rng, target, aligned, mask * _coverage(source, target), kind="lips")


def soft_face_mask(rng: np.random.Generator, target: LocatedFace) -> Mask:
    """Returns a mask of the face with a deformed, feathered border."""
    mask = face_mask(rng, target.face, target.rgb.shape[:2])
    return soften(rng, _deform(rng, mask, target.face), target.face)


def paste(rng: np.random.Generator, target: LocatedFace, aligned: Picture, mask: Mask, *, kind: str) -> BlendedPair:
    """Returns the target with `aligned` blended in under `mask`, matched in colour, by one of three methods."""
    rgb = target.rgb
    aligned = match_colours(aligned, rgb, mask, float(rng.uniform(0.6, 1.0)))
    blend = rng.choice(("alpha", "poisson", "two-band"), p=(0.5, 0.2, 0.3))
    if blend == "poisson":
        fake, mask = poisson_blend(aligned, rgb, mask)
    elif blend == "two-band":
        fake, mask = two_band_blend(aligned, rgb, mask, _unit_px(target.face) * rng.uniform(2, 6))
    else:
        mask *= np.float32(rng.choice(_SWAP_STRENGTHS))
        fake = alpha_blend(aligned, rgb, mask)
    return BlendedPair(rgb, fake, mask, target.face, kind)


def nearest_source(
    rng: np.random.Generator, target: LocatedFace, others: Sequence[LocatedFace], tries: int = 48
) -> LocatedFace:
    """Returns the most similar of `tries` random faces of other people, by landmarks and mean colour.

    Raises ValueError where none is of another person.
    """
    wanted = _likeness(target)
    picks = [others[index] for index in rng.integers(0, len(others), tries)]
    strangers: list[LocatedFace] = [face for face in picks if face.group != target.group]
    if not strangers:
        raise ValueError("no other person to take a face from")
    gaps = [float(np.abs(_likeness(face) - wanted).sum()) for face in strangers]
    return strangers[int(np.argmin(gaps))]


def _likeness(item: LocatedFace) -> NDArray[np.float64]:
    """Returns landmarks relative to the nose, in eye distances, and mean colour divided by 100."""
    points = item.face.landmarks
    shape = (points - points[2]) / max(1.0, float(np.linalg.norm(points[1] - points[0])))
    box = item.face.box
    rows = slice(max(0, int(box.top)), max(1, int(box.bottom)))
    inside = item.rgb[rows, max(0, int(box.left)) : max(1, int(box.right))]
    return np.concatenate([shape.ravel(), inside.reshape(-1, 3).mean(axis=0) / 100])


def face_mask(rng: np.random.Generator, face: DetectedFace, shape: tuple[int, int]) -> Mask:
    """Returns a hard mask from five landmarks: two half super-ellipses or, in one case of ten, the mouth alone."""
    if rng.random() < 0.1:
        return mouth_mask(rng, face, shape)
    eyes, mouth, across, down, span = _axes(face)
    exponent = rng.uniform(2.0, 2.6)
    half_width = 1.07 * span * rng.uniform(0.95, 1.15)
    centre = eyes + 0.35 * span * down
    lower = (1.85 - 0.35) * span
    upper = (0.4 if rng.random() < 0.25 else 1.0) * span + 0.35 * span
    yaw = float(np.clip(((face.landmarks[2] - (eyes + mouth) / 2) @ across) / span, -1, 1))
    centre = centre + 0.3 * yaw * span * across
    angle = np.linspace(0, 2 * np.pi, _MASK_VERTICES, endpoint=False)
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / exponent)
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / exponent)
    # The half of the face that is turned away is narrower.
    away = np.where(np.sign(x) == np.sign(yaw), 1 - 0.6 * abs(yaw), 1.0)
    polygon = centre + (x * half_width * away)[:, None] * across + (y * np.where(y > 0, lower, upper))[:, None] * down
    mask = np.zeros(shape, dtype=np.float32)
    cv2.fillPoly(mask, [np.rint(polygon).astype(np.int32)], 1.0)
    return mask


def mouth_mask(rng: np.random.Generator, face: DetectedFace, shape: tuple[int, int]) -> Mask:
    """Returns a hard ellipse around the mouth."""
    _, mouth, across, _, span = _axes(face)
    return _ellipse(mouth, across, (0.75 * span * rng.uniform(0.8, 1.2), 0.5 * span), shape)


def _axes(face: DetectedFace) -> tuple[Points, Points, Points, Points, float]:
    """Returns eye midpoint, mouth midpoint, unit vectors across and down the face, and eye distance in pixels."""
    points = face.landmarks.astype(np.float64)
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    span = float(np.linalg.norm(points[1] - points[0]))
    reach = float(np.linalg.norm(mouth - eyes))
    # In profile the eye distance shrinks more than the face.
    span = max(span, 0.6 * reach, 1.0)
    down = (mouth - eyes) / max(reach, 1e-6)
    across = np.array([down[1], -down[0]])
    return eyes, mouth, across, down, span


def _ellipse(centre: Points, across: Points, radii: tuple[float, float], shape: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, dtype=np.float32)
    degrees = float(np.degrees(np.arctan2(across[1], across[0])))
    size = (2 * radii[0], 2 * radii[1])
    cv2.ellipse(mask, ((float(centre[0]), float(centre[1])), size, degrees), 1.0, -1)
    return mask


def _unit_px(face: DetectedFace) -> float:
    """Returns the scale of the pixel constants: they hold for a crop 256 px wide, about two faces."""
    return 2 * face.box.width / _REFERENCE_PX


def _alter_statistics(rng: np.random.Generator, rgb: Picture, face: DetectedFace) -> Picture:
    """Returns the picture with shifted colours and one of: lower resolution, sharpening, blur, a video codec."""
    rgb = shift_colours(rng, rgb)
    how = rng.choice(("resample", "sharpen", "blur", "code"), p=(0.35, 0.3, 0.15, 0.2))
    if how == "sharpen":
        return unsharp(rgb, rng.uniform(0.2, 0.8))
    if how == "blur":
        return np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.5, 1.6) * max(0.5, _unit_px(face))))
    if how == "code":
        return random_codec_pass(rng, rgb)
    return _resample(rng, rgb, 1 / rng.uniform(1.5, 4.0))


def _resample(rng: np.random.Generator, rgb: Picture, factor: float) -> Picture:
    height, width = rgb.shape[:2]
    small = (max(8, round(width * factor)), max(8, round(height * factor)))
    down = rng.choice((cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA))
    up = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC))
    reduced = cv2.resize(rgb, small, interpolation=int(down))
    return np.asarray(cv2.resize(reduced, (width, height), interpolation=int(up)), dtype=np.uint8)


def _small_affine(rng: np.random.Generator, face: DetectedFace) -> NDArray[np.float64]:
    centre = np.array(face.box.centre)
    scale = rng.uniform(0.95, 1 / 0.95)
    reach = 2 * np.array([face.box.width, face.box.height])
    shift = reach * np.array([rng.uniform(-0.03, 0.03), rng.uniform(-0.015, 0.015)])
    return np.column_stack([np.eye(2) * scale, centre - scale * centre + shift])


def _warp_picture(rgb: Picture, matrix: NDArray[np.float64]) -> Picture:
    size = (rgb.shape[1], rgb.shape[0])
    warped = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)


def _warp_mask(mask: Mask, matrix: NDArray[np.float64]) -> Mask:
    size = (mask.shape[1], mask.shape[0])
    return np.asarray(cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR), dtype=np.float32)


def _deform(rng: np.random.Generator, mask: Mask, face: DetectedFace) -> Mask:
    """Returns the mask after an elastic deformation with alpha 50 and sigma 7 at the reference width."""
    unit = _unit_px(face)
    height, width = mask.shape
    fields = [
        cv2.GaussianBlur(rng.uniform(-1, 1, (height, width)).astype(np.float32), (0, 0), 7 * unit) * 50 * unit
        for _ in range(2)
    ]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(mask, columns + fields[0], rows + fields[1], cv2.INTER_LINEAR))


def soften(rng: np.random.Generator, mask: Mask, face: DetectedFace) -> Mask:
    """Returns a feathered mask: blur, keep what is still full, blur again, within the reach of the first blur."""
    unit = _unit_px(face)
    first = cv2.GaussianBlur(mask, (0, 0), unit * rng.uniform(1.0, 4.5))
    full = (first >= 0.995 * first.max()).astype(np.float32) if first.max() > 0 else first
    second = cv2.GaussianBlur(full, (0, 0), unit * rng.uniform(1.0, 6.0))
    second[second < 1 / 255] = 0
    return np.asarray(second / max(float(second.max()), 1e-6), dtype=np.float32)


def alpha_blend(source: Picture, target: Picture, mask: Mask) -> Picture:
    """Returns mask * source + (1 - mask) * target, exactly the target where the mask is 0."""
    mixed = target + mask[:, :, None] * (source.astype(np.float32) - target)
    return np.where(mask[:, :, None] > 0, np.rint(mixed).clip(0, 255), target).astype(np.uint8)


def poisson_blend(source: Picture, target: Picture, mask: Mask) -> tuple[Picture, Mask]:
    """Returns a gradient-domain blend (Perez et al. 2003) over the solid part of the mask, and the mask used.

    A part less than 8 px wide or high is blended by alpha instead.
    """
    solid = (mask > 0.5).astype(np.uint8) * 255
    solid[[0, -1]] = 0
    solid[:, [0, -1]] = 0
    left, top, width, height = cv2.boundingRect(solid)
    if min(width, height) < 8:
        return alpha_blend(source, target, mask), mask
    centre = (left + width // 2, top + height // 2)
    cloned = np.asarray(cv2.seamlessClone(source, target, solid, centre, cv2.NORMAL_CLONE), dtype=np.uint8)
    # The solver changes pixels of the whole rectangle slightly; outside the mask the target is restored.
    mask = (solid > 0).astype(np.float32)
    return alpha_blend(cloned, target, mask), mask


def two_band_blend(source: Picture, target: Picture, mask: Mask, sigma_px: float) -> tuple[Picture, Mask]:
    """Returns a two-band blend (Burt and Adelson 1983), wide seam for coarse structure, and the mask of all changes."""
    wide = np.asarray(cv2.GaussianBlur(mask, (0, 0), 2 * sigma_px), dtype=np.float32)
    wide[wide < 1 / 255] = 0
    coarse = [cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma_px) for picture in (source, target)]
    detail = [picture - low for picture, low in zip((source, target), coarse, strict=True)]
    mixed = target + wide[:, :, None] * (coarse[0] - coarse[1]) + mask[:, :, None] * (detail[0] - detail[1])
    changed = np.maximum(mask, wide)
    fake = np.where(changed[:, :, None] > 0, np.rint(mixed).clip(0, 255), target).astype(np.uint8)
    return fake, changed


def match_colours(source: Picture, target: Picture, mask: Mask, strength: float) -> Picture:
    """Returns the source with CIE Lab mean and spread inside the mask moved to the target's (Reinhard et al. 2001)."""
    inside = mask > 0.5
    if inside.sum() < 16:
        return source
    lab = cv2.cvtColor(source, cv2.COLOR_RGB2LAB).astype(np.float32)
    wanted = cv2.cvtColor(target, cv2.COLOR_RGB2LAB)[inside].astype(np.float32)
    own = lab[inside]
    gain = np.clip(wanted.std(axis=0) / np.maximum(own.std(axis=0), 1), 0.5, 2.0)
    matched = (lab - own.mean(axis=0)) * gain + wanted.mean(axis=0)
    lab += strength * (matched - lab)
    return np.asarray(cv2.cvtColor(np.rint(lab).clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB))


def _through_swapper(rng: np.random.Generator, source: LocatedFace, target: LocatedFace) -> Picture:
    """Returns the source aligned to the target's landmarks, at the resolution of a random face swapper.

    Raises ValueError where no similarity fits the landmarks.
    """
    matrix, _ = cv2.estimateAffinePartial2D(source.face.landmarks, target.face.landmarks, method=cv2.LMEDS)
    if matrix is None:
        raise ValueError("landmarks do not fit each other")
    size = (target.rgb.shape[1], target.rgb.shape[0])
    aligned = cv2.warpAffine(source.rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    face_px = max(8.0, target.face.box.width)
    factor = float(rng.choice(_SWAPPER_PX)) / face_px
    if factor < 1:
        aligned = _resample(rng, np.asarray(aligned), factor)
    return np.asarray(aligned)


def _coverage(source: LocatedFace, target: LocatedFace) -> Mask:
    """Returns 1 where the aligned source picture covers the target, else 0."""
    matrix, _ = cv2.estimateAffinePartial2D(source.face.landmarks, target.face.landmarks, method=cv2.LMEDS)
    ones = np.ones(source.rgb.shape[:2], dtype=np.float32)
    size = (target.rgb.shape[1], target.rgb.shape[0])
    covered = cv2.warpAffine(ones, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return cv2.erode(np.asarray(covered), np.ones((3, 3), np.uint8)).astype(np.float32)


def mirrored(item: LocatedFace) -> LocatedFace:
    """Returns the face mirrored, with left and right landmarks exchanged."""
    width = item.rgb.shape[1]
    points = item.face.landmarks[[1, 0, 2, 4, 3]].copy()
    points[:, 0] = width - 1 - points[:, 0]
    box = item.face.box
    flipped = replace(box, left=width - box.right, right=width - box.left)
    face = replace(item.face, box=flipped, landmarks=points)
    return replace(item, rgb=np.ascontiguousarray(item.rgb[:, ::-1]), face=face)
