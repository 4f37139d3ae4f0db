"""Families of pseudo-fakes behind one protocol, and the factory that draws from them.

In every family both halves of a pair come from one picture and are bit-identical outside the mask; a test checks all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector.training.data import face_blending
from detector.training.data.degradations import blurred, random_codec_pass, unsharp
from detector.training.data.latent_fakes import LatentSwap, Redrawn
from detector.training.data.skin_tone import balanced_weights, face_tone
from detector.training.data.swap_autoencoder import PATCH_PX, alignment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detector.training.data.datasets import LocatedFace
    from detector.training.data.face_blending import BlendedPair
    from detector.training.data.fake_protocol import FakeFamily
    from detector.training.data.latent_fakes import LatentCodec

    Patches = Mapping[str, NDArray[np.uint8]]

# Relative frequency of each family.
SHARES = {
    "self": 0.22, "swap": 0.18, "lips": 0.07, "restored": 0.12, "decoded": 0.1, "latent": 0.25, "redrawn": 0.06,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SelfBlend:
    """The face blended over itself, moved, with other colour or sharpness."""

    name: str = "self"

    def make(self, rng: np.random.Generator, target: LocatedFace, others: Sequence[LocatedFace]) -> BlendedPair:
        return face_blending.self_blend(rng, target)


@dataclass(frozen=True, slots=True)
class Swap:
    """Another person's face, warped by landmarks."""

    name: str = "swap"

    def make(self, rng: np.random.Generator, target: LocatedFace, others: Sequence[LocatedFace]) -> BlendedPair:
        return face_blending.swap_face(rng, target, face_blending.nearest_source(rng, target, others))


@dataclass(frozen=True, slots=True)
class Lips:
    """Another person's mouth."""

    name: str = "lips"

    def make(self, rng: np.random.Generator, target: LocatedFace, others: Sequence[LocatedFace]) -> BlendedPair:
        return face_blending.swap_mouth(rng, target, face_blending.nearest_source(rng, target, others))


@dataclass(frozen=True, slots=True)
class Restored:
    """A fake of another family whose sharpness differs from its surroundings.

    Half of them are sharp inside a blurred and coded picture, the other half soft inside a clean one.
    """

    inner: FakeFamily
    name: str = "restored"

    def make(self, rng: np.random.Generator, target: LocatedFace, others: Sequence[LocatedFace]) -> BlendedPair:
        pair = self.inner.make(rng, target, others)
        if rng.random() < 0.5:
            around = random_codec_pass(rng, blurred(pair.real, rng.uniform(0.6, 1.6)))
            inside = unsharp(pair.fake, rng.uniform(0.1, 0.6))
        else:
            around, inside = pair.real, blurred(pair.fake, rng.uniform(0.6, 1.6))
        mask = np.maximum(pair.mask, 0.9 * (pair.mask > 0.5 * pair.mask.max())).astype(np.float32)
        blended = face_blending.alpha_blend(inside, around, mask)
        return face_blending.BlendedPair(around, blended, mask, pair.face, self.name)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A face decoded by an autoencoder, between the target and another person, with the texture of neural decoders.

    `patches` maps the name of a face to its decoded patches (`swap_autoencoder.draw_patches`).
    """

    patches: Patches
    name: str = "decoded"

    def make(self, rng: np.random.Generator, target: LocatedFace, others: Sequence[LocatedFace]) -> BlendedPair:
        drawn = self.patches.get(target.name)
        if drawn is None:
            raise ValueError("no face was drawn for this picture")
        patch = drawn[int(rng.integers(len(drawn)))]
        matrix = cv2.invertAffineTransform(alignment(target.face, PATCH_PX))
        size = (target.rgb.shape[1], target.rgb.shape[0])
        placed = np.asarray(cv2.warpAffine(patch, matrix, size, flags=cv2.INTER_CUBIC), np.uint8)
        inside = np.ones(patch.shape[:2], np.float32)
        covered = cv2.warpAffine(inside, matrix, size, flags=cv2.INTER_NEAREST)
        inner = np.asarray(cv2.erode(covered, np.ones((3, 3), np.uint8)), np.float32)
        mask = face_blending.soft_face_mask(rng, target) * inner
        if rng.random() < 0.4:
            placed = unsharp(placed, rng.uniform(0.3, 1.0))
        return face_blending.paste(rng, target, placed, mask, kind=self.name)


def families(patches: Patches, codec: LatentCodec | None = None) -> tuple[FakeFamily, ...]:
    """Returns all families; `decoded` only where there are patches, `latent` and `redrawn` only with a codec."""
    kinds: list[FakeFamily] = [SelfBlend(), Swap(), Lips(), Restored(Swap())]
    if patches:
        kinds.append(Decoded(patches))
    if codec is not None:
        kinds += [LatentSwap(codec), Redrawn(Swap(), codec)]
    return tuple(kinds)


class PseudoFakeFactory:
    """Draws a face, balanced by skin tone and source, then a family, and makes the pair.

    The family called `held_out` is left out.
    """

    def __init__(self, faces: Sequence[LocatedFace], kinds: Sequence[FakeFamily], held_out: str = "") -> None:
        """Raises ValueError for an unknown held-out family, and where no family is left."""
        names = [kind.name for kind in kinds]
        if held_out and held_out not in names:
            raise ValueError(f"held-out family: expected one of {names}, got {held_out!r}")
        self._faces = faces
        self._kinds = [kind for kind in kinds if kind.name != held_out]
        if not self._kinds:
            raise ValueError("no family of fakes is left")
        shares = np.array([SHARES[kind.name] for kind in self._kinds])
        self._shares = shares / shares.sum()
        tones = np.array([face_tone(face) for face in faces])
        sources = np.array([face.group.split("/")[0] for face in faces])
        self._weights = balanced_weights(tones, sources)

    def pair(self, rng: np.random.Generator) -> tuple[BlendedPair, LocatedFace]:
        """Returns a random pair and the face it was made of. Raises ValueError where the faces allow none."""
        target = self._faces[int(rng.choice(len(self._faces), p=self._weights))]
        kind = self._kinds[int(rng.choice(len(self._kinds), p=self._shares))]
        if rng.random() < 0.5 and kind.name != "decoded":
            target = face_blending.mirrored(target)
        return kind.make(rng, target, self._faces), target
