"""Value types of the detector: frozen, and checked when constructed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CROP_SIZE_PX = 224
SMALLEST_INPUT_PX, LARGEST_INPUT_PX = 96, 512


class Padding(StrEnum):
    """Padding of pooling layers of stride 2: `behind`, as in Keras on even lengths, or `both` sides, as in PyTorch.

    On odd lengths the two are the same.
    """

    BEHIND = "behind"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """Input of a network: RGB squares of `size_px` in -1..1, cropped by `detector.face_crop`."""

    size_px: int = CROP_SIZE_PX
    padding: Padding = Padding.BEHIND

    def __post_init__(self) -> None:
        if not SMALLEST_INPUT_PX <= self.size_px <= LARGEST_INPUT_PX:
            raise ValueError(
                f"size_px: expected {SMALLEST_INPUT_PX} to {LARGEST_INPUT_PX}, got {self.size_px}"
            )


@dataclass(frozen=True, slots=True)
class FaceBox:
    """Axis-aligned box in pixels of its frame; may reach outside the frame."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def area(self) -> float:
        return max(0.0, self.width) * max(0.0, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def scaled(self, factor: float) -> FaceBox:
        """Returns the same box in a frame that is `factor` times as large."""
        return FaceBox(self.left * factor, self.top * factor, self.right * factor, self.bottom * factor)

    def relative(self, width_px: int, height_px: int) -> tuple[float, float, float, float]:
        """Returns (x, y, width, height) as fractions of the frame, clipped to it."""
        left, right = (min(max(v / width_px, 0.0), 1.0) for v in (self.left, self.right))
        top, bottom = (min(max(v / height_px, 0.0), 1.0) for v in (self.top, self.bottom))
        return left, top, right - left, bottom - top


@dataclass(frozen=True, slots=True, eq=False)
class DetectedFace:
    """One face on one frame; `confidence` is the probability that it is a face.

    `landmarks` is float32 (5, 2), x then y in pixels of the frame: left eye, right eye, nose, left mouth corner, right
    mouth corner. Left and right are those of the picture.
    """

    box: FaceBox
    confidence: float
    landmarks: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.landmarks.shape != (5, 2):
            raise ValueError(f"landmarks: expected shape (5, 2), got {self.landmarks.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """Input of the scorer for one face, built by `detector.face_crop`.

    `rgb` is uint8 (224, 224, 3) RGB. `native_rgb` is uint8 (h, w, 3) RGB: the same square at the resolution of the
    frame, for the frequency score. `face_px` is the shorter side of the face box in pixels of the frame.
    """

    rgb: NDArray[np.uint8]
    native_rgb: NDArray[np.uint8]
    box: FaceBox
    face_px: float

    def __post_init__(self) -> None:
        if self.rgb.shape != (CROP_SIZE_PX, CROP_SIZE_PX, 3) or self.rgb.dtype != np.uint8:
            raise ValueError(f"rgb: expected uint8 (224, 224, 3), got {self.rgb.dtype} {self.rgb.shape}")
        native = self.native_rgb
        if native.ndim != 3 or native.shape[2] != 3 or native.dtype != np.uint8:
            raise ValueError(f"native_rgb: expected uint8 (h, w, 3), got {native.dtype} {native.shape}")


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """Quality of a face crop: shorter side of the box in pixels, variance of the Laplacian, mean luma in 0..1.

    `weight` in 0..1 is that of the face in a verdict: 0 below 64 px, 1 from 112 px.
    """

    face_px: float
    sharpness: float
    luminance: float
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class FaceScore:
    """Score of one crop.

    `prob_fake` is the calibrated posterior at even prior, `sigmoid(llr)`; `llr` is the fused, calibrated and clipped
    log-likelihood ratio (natural log, positive = fake). `logit` is the network's raw output.
    `frequency_score` is in 0..1, or None where the face is too small for a spectrum.
    `heat_map` is float32 (s, s) in 0..1, high where evidence for FAKE lies; s is 7 for networks that take 224 px.
    """

    logit: float
    prob_fake: float
    llr: float
    frequency_score: float | None
    quality: FaceQuality
    heat_map: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EvidenceStats:
    """Statistics of the LLRs of single frames within a stream, measured on clips that the network never saw.

    All values are in nats except `correlation_s` and `detectable`.
    `mean_real`: 95th percentile over real clips of the mean LLR of a clip. Where the 90th percentile over all
    corruptions and codecs is higher, that one (`detector.training.evaluation.operating_point`).
    `mean_fake`: mean LLR of the fake clips above `mean_real`; `detectable` is their share of all fake clips.
    `sd`: standard deviation of frames within a clip. `correlation_s`: seconds in which the correlation between frames
    falls to 1/e.
    `real_middle`: median over real clips of the mean LLR; `fake_low`: 10th percentile over fake clips. A face counts as
    real only where its evidence is below `fake_low`.
    """

    mean_real: float
    mean_fake: float
    sd: float
    correlation_s: float
    detectable: float
    real_middle: float
    fake_low: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Identity of a model: `sha256` is the hex digest of its array file; `evidence` is None if not measured.

    Scores of a model that is not calibrated are no probabilities, and no label may follow from them.
    """

    name: str
    version: str
    sha256: str
    evidence: EvidenceStats | None = None
    is_calibrated: bool = True
