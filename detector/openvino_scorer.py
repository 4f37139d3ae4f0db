"""Face scorer on OpenVINO: crops in, calibrated scores and heat maps out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detector.config import DetectorConfig, Precision
from detector.errors import InvalidArrayFile, ScorerFailed, WeightsRefused
from detector.face_crop import measure_quality, stack_crops
from detector.frequency import frequency_features, frequency_score
from detector.fusion import UNCALIBRATED, log_likelihood_ratio, prob_fake
from detector.gradcam import heat_maps
from detector.model_artifact import open_arrays, read_manifest
from detector.openvino_runtime import ov
from detector.types import FaceCrop, FaceScore, ModelInfo
from detector.xception_openvino import build_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PRECISION_HINTS = {Precision.FLOAT32: "f32", Precision.BFLOAT16: "bf16"}


def compile_for_cpu(graph: ov.Model, num_threads: int, precision: Precision) -> ov.CompiledModel:
    """Compiles a graph for the CPU, one stream, threads unpinned so that processes do not share one core."""
    core = ov.Core()
    if precision is Precision.AUTO:
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = Precision.BFLOAT16 if has_bf16 else Precision.FLOAT32
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": num_threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision],
    }
    return core.compile_model(graph, "CPU", settings)


class OpenVinoScorer:
    """`FaceScorer` on the CPU. Blocks; not thread-safe; memory is bounded by `max_batch`."""

    def __init__(self, config: DetectorConfig) -> None:
        """Loads and checks the model, compiles it, and runs it once. Raises WeightsRefused."""
        self._manifest = read_manifest(config.weights_dir)
        self._calibration = self._manifest.calibration or UNCALIBRATED
        self._size_px = self._manifest.network_input.size_px
        self._max_batch = config.max_batch
        # Must stay alive: the constants of the graph share its memory.
        self._arrays = open_arrays(config.weights_dir, self._manifest)
        try:
            graph = build_graph(
                self._arrays.arrays,
                int8_activations=config.precision is not Precision.FLOAT32,
                network_input=self._manifest.network_input,
            )
            compiled = compile_for_cpu(graph, config.num_threads, config.precision)
        except InvalidArrayFile as error:
            raise WeightsRefused(str(error)) from error
        self._request = compiled.create_infer_request()
        self._infer(np.zeros((1, self._size_px, self._size_px, 3), dtype=np.uint8))
        # OpenVINO copies the weights into its own layout during the first inference: the mapped pages can be released.
        self._arrays.release_pages()

    @property
    def info(self) -> ModelInfo:
        return self._manifest.info

    def score(self, crops: Sequence[FaceCrop]) -> tuple[FaceScore, ...]:
        """Returns one score per crop, in order. Raises ScorerFailed."""
        scores: list[FaceScore] = []
        for start in range(0, len(crops), self._max_batch):
            batch = crops[start : start + self._max_batch]
            logits, evidence = self._infer(stack_crops(batch, self._size_px))
            maps = heat_maps(evidence)
            scores.extend(self._score(*item) for item in zip(batch, logits, maps, strict=True))
        return tuple(scores)

    def _score(self, crop: FaceCrop, logit: np.float32, heat_map: NDArray[np.float32]) -> FaceScore:
        features = frequency_features(crop.native_rgb, crop.face_px)
        spectral = frequency_score(features, self._manifest.frequency)
        llr = log_likelihood_ratio(float(logit), spectral, self._calibration)
        return FaceScore(
            logit=float(logit),
            prob_fake=prob_fake(llr),
            llr=llr,
            frequency_score=spectral,
            quality=measure_quality(crop),
            heat_map=heat_map,
        )

    def _infer(self, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns logits (n,) and evidence maps (n, s, s), both copies, of uint8 (n, size, size, 3) RGB."""
        try:
            self._request.infer([rgb], share_inputs=True)
        except RuntimeError as error:
            raise ScorerFailed(f"network failed on {len(rgb)} crops: {error}") from error
        logits, evidence = (np.array(self._request.get_output_tensor(index).data) for index in (0, 1))
        if logits.shape != (len(rgb),) or evidence.ndim != 3 or len(evidence) != len(rgb):
            raise ScorerFailed(f"network gave shapes {logits.shape} and {evidence.shape} for {len(rgb)} crops")
        if not np.isfinite(logits).all():
            raise ScorerFailed("network gave a logit that is not finite")
        return logits, evidence
