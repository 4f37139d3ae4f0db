"""Pseudo-fakes decoded by a pretrained image autoencoder: real photos with the texture of neural decoders.

The autoencoder is a pair of files, `*_encoder` and `*_decoder`, in ONNX (`.onnx`) or OpenVINO (`.xml`) format. The
encoder takes float32 (n, 3, h, w) RGB in 0..1 and returns a latent (n, c, h / 8, w / 8); the decoder takes that latent
and returns (n, 3, h, w) in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector.errors import TrainingRefused
from detector.openvino_runtime import ov
from detector.training.data import face_blending
from detector.training.data.degradations import unsharp
from detector.training.data.swap_autoencoder import alignment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector.training.data.datasets import LocatedFace
    from detector.training.data.face_blending import BlendedPair, Mask, Picture
    from detector.training.data.fake_protocol import FakeFamily

    Latent = NDArray[np.float32]

LATENT_STRIDE_PX = 8
# Sides, in px, at which swap tools generate faces. 128 and 160 px are twice as likely.
_FACE_SIDES_PX = (96, 112, 128, 128, 160, 160, 192, 224)
_FRAME_SIDES_PX = (160, 192, 224, 256, 320)
_ENLARGEMENTS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
_OWN_FACE_SHARE = 0.3
_REDRAWN_FRAME_SHARE = 0.15
_MOUTH_ONLY_SHARE = 0.2


class LatentCodec:
    """An encoder and its decoder in OpenVINO. Thread-safe: every call creates its own inference request."""

    def __init__(self, folder: Path) -> None:
        """Compiles the two networks in `folder`. Raises TrainingRefused unless there is exactly one pair."""
        core = ov.Core()
        self._encoder, self._decoder = (_compiled(core, folder, part) for part in ("encoder", "decoder"))

    def encode(self, rgb: Picture) -> Latent:
        """Returns the latent, float32 (1, c, h / 8, w / 8), of a picture whose sides are multiples of 8 px."""
        pixels = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        return _infer(self._encoder, pixels)

    def decode(self, latent: Latent) -> Picture:
        """Returns the decoded picture, uint8 (h, w, 3) RGB."""
        pixels = _infer(self._decoder, np.ascontiguousarray(latent))[0].transpose(1, 2, 0)
        return np.ascontiguousarray(np.rint(pixels.clip(0, 1) * 255), np.uint8)

    def round_trip(self, rgb: Picture, longest_px: int) -> Picture:
        """Returns the picture, encoded and decoded at `longest_px` on its longer side, at its original size."""
        height, width = rgb.shape[:2]
        factor = longest_px / max(height, width)
        sides = [max(1, round(side * factor / LATENT_STRIDE_PX)) * LATENT_STRIDE_PX for side in (width, height)]
        small = cv2.resize(rgb, (sides[0], sides[1]), interpolation=cv2.INTER_AREA)
        drawn = self.decode(self.encode(np.asarray(small, np.uint8)))
        return np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _compiled(core: ov.Core, folder: Path, part: str) -> ov.CompiledModel:
    paths = [path for suffix in (".onnx", ".xml") for path in sorted(folder.glob(f"*_{part}{suffix}"))]
    if len(paths) != 1:
        raise TrainingRefused(f"{folder}: expected one file *_{part}.onnx or *_{part}.xml, found {len(paths)}")
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    return core.compile_model(str(paths[0]), "CPU", settings)


def _infer(network: ov.CompiledModel, values: NDArray[np.float32]) -> NDArray[np.float32]:
    request = network.create_infer_request()
    request.infer([values])
    return np.array(request.get_output_tensor(0).data, np.float32)


@dataclass(frozen=True, slots=True)
class LatentSwap:
    """Another person's latent under a soft mask, or the same face encoded and decoded, blended into the picture.

    In some pairs both halves are encoded and decoded as a whole first: decoder texture alone is not evidence of a fake.
    """

    codec: LatentCodec
    name: str = "latent"

    def make(self, rng: np.random.Generator, target: LocatedFace, others: Sequence[LocatedFace]) -> BlendedPair:
        """Returns a pair made of `target`'s picture. Raises ValueError where these faces allow none."""
        is_redrawn = rng.random() < _REDRAWN_FRAME_SHARE
        if is_redrawn:
            target = redrawn(rng, self.codec, target)
        side = int(rng.choice(_FACE_SIDES_PX))
        matrix = alignment(target.face, side)
        own = _patch(target, matrix, side)
        latent = self.codec.encode(own)
        # A second pass of the same face through the decoder changes next to nothing.
        if is_redrawn or rng.random() >= _OWN_FACE_SHARE:
            latent = self._mix_latents(rng, latent, own, face_blending.nearest_source(rng, target, others))
        patch = self.codec.decode(latent)
        if rng.random() < 0.3:
            patch = unsharp(patch, rng.uniform(0.2, 0.8))
        placed, mask = _placed(rng, target, patch, matrix)
        return face_blending.paste(rng, target, placed, mask, kind=self.name)

    def _mix_latents(self, rng: np.random.Generator, latent: Latent, own: Picture, source: LocatedFace) -> Latent:
        """Returns the latent mixed with that of `source` under a soft mask, by a random share."""
        side = own.shape[0]
        theirs = _patch(source, alignment(source.face, side), side)
        everywhere = np.ones((side, side), np.float32)
        theirs = face_blending.match_colours(theirs, own, everywhere, float(rng.uniform(0.6, 1.0)))
        cells = side // LATENT_STRIDE_PX
        share = np.float32(rng.choice((0.5, 0.75, 1.0, 1.0))) * _cell_mask(rng, cells)
        mixed: Latent = latent + share * (self.codec.encode(theirs) - latent)
        return mixed


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A fake of another family on a decoded frame, so that the real half has decoder texture too."""

    inner: FakeFamily
    codec: LatentCodec
    name: str = "redrawn"

    def make(self, rng: np.random.Generator, target: LocatedFace, others: Sequence[LocatedFace]) -> BlendedPair:
        """Returns a pair made of `target`'s decoded picture. Raises ValueError where these faces allow none."""
        pair = self.inner.make(rng, redrawn(rng, self.codec, target), others)
        return replace(pair, kind=self.name)


def redrawn(rng: np.random.Generator, codec: LatentCodec, target: LocatedFace) -> LocatedFace:
    """Returns the same face on its picture after one round trip through the autoencoder."""
    return replace(target, rgb=codec.round_trip(target.rgb, int(rng.choice(_FRAME_SIDES_PX))))


def _patch(face: LocatedFace, matrix: NDArray[np.float64], side_px: int) -> Picture:
    """Returns the aligned face, uint8 (side, side, 3) RGB."""
    patch = cv2.warpAffine(
        face.rgb, matrix, (side_px, side_px), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(patch, np.uint8)


def _cell_mask(rng: np.random.Generator, cells: int) -> Mask:
    """Returns a soft ellipse over the face or the mouth alone, float32 (cells, cells) in 0..1."""
    across, down = np.meshgrid(*(2 * [(np.arange(cells, dtype=np.float32) + 0.5) / cells]))
    is_mouth = rng.random() < _MOUTH_ONLY_SHARE
    centre, radii = ((0.5, 0.78), (0.3, 0.2)) if is_mouth else ((0.5, 0.55), (0.48, 0.52))
    radii_drawn = np.array(radii) * rng.uniform(0.85, 1.2, 2)
    distance = np.hypot((across - centre[0]) / radii_drawn[0], (down - centre[1]) / radii_drawn[1])
    softness = float(rng.uniform(0.1, 0.5))
    return np.asarray(np.clip((1 - distance) / softness + 0.5, 0, 1), np.float32)


def _placed(
    rng: np.random.Generator, target: LocatedFace, patch: Picture, matrix: NDArray[np.float64]
) -> tuple[Picture, Mask]:
    """Returns the patch warped to the position of the face, and its blending mask, both of the picture's size."""
    back = cv2.invertAffineTransform(matrix)
    size = (target.rgb.shape[1], target.rgb.shape[0])
    placed = cv2.warpAffine(patch, back, size, flags=int(rng.choice(_ENLARGEMENTS)), borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpAffine(np.ones(patch.shape[:2], np.float32), back, size, flags=cv2.INTER_NEAREST)
    inside = np.asarray(cv2.erode(covered, np.ones((3, 3), np.uint8)), np.float32)
    return np.asarray(placed, np.uint8), face_blending.soft_face_mask(rng, target) * inside
