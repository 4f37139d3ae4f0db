"""Features of the frozen layers: computed once with the serving graph and cached on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.config import Precision
from detector.openvino_scorer import compile_for_cpu
from detector.xception_openvino import FEATURES, MIDDLE_SHAPE, GraphOutput, build_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from detector.training.data.samples import SampleSet

_BATCH = 8


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Frozen features of n samples.

    `middle`, float16 (n, 14, 14, 728), memory-mapped, is the input of block 13. `pooled`, float32 (n, 2048), is that of
    the head.
    """

    middle: NDArray[np.float16]
    pooled: NDArray[np.float32]


class Extractor:
    """Computes features with the network of `base`."""

    def __init__(self, base: Mapping[str, NDArray[Any]], num_threads: int = 2) -> None:
        self._base = base
        compiled = compile_for_cpu(build_graph(base, GraphOutput.FEATURES), num_threads, Precision.AUTO)
        self._request = compiled.create_infer_request()

    def extract(
        self, cache: Path, name: str, samples: SampleSet, progress: Callable[[str, float], None]
    ) -> Features:
        """Returns the features of all samples, from the folder `cache` where they belong to the same samples."""
        middle_file, pooled_file = cache / f"{name}.middle.npy", cache / f"{name}.pooled.npy"
        stamp_file = cache / f"{name}.features.json"
        stamp = {"samples": (cache / f"{name}.json").read_text(), "count": len(samples)}
        if not len(samples):
            return Features(np.zeros((0, *MIDDLE_SHAPE), np.float16), np.zeros((0, FEATURES), np.float32))
        if not (stamp_file.is_file() and json.loads(stamp_file.read_text()) == stamp):
            stamp_file.unlink(missing_ok=True)
            middle = np.lib.format.open_memmap(middle_file, "w+", np.float16, (len(samples), *MIDDLE_SHAPE))
            pooled = np.zeros((len(samples), FEATURES), dtype=np.float32)
            for start in range(0, len(samples), _BATCH):
                part = slice(start, start + _BATCH)
                self._request.infer([np.ascontiguousarray(samples.rgb[part])])
                middle[part], pooled[part] = (self._request.get_output_tensor(index).data for index in (0, 1))
                progress(f"features: {name}", start / len(samples))
            middle.flush()
            np.save(pooled_file, pooled)
            stamp_file.write_text(json.dumps(stamp))
        return Features(np.load(middle_file, mmap_mode="r"), np.load(pooled_file))
