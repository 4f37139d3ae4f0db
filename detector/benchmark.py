"""Benchmark of one sample from frame to score: DeepGuard against a baseline of `mtcnn` and Keras `predict`.

Samples are half a second apart, as in a call. DeepGuard runs as the service does: full detection in every third sample,
following in between. The variants alternate in one run and may all use every core, except `ours_one_thread`. Each has
a process of its own, so that it does not compete with the threads of another. Needs the `train` extra.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from detector.config import DetectorConfig
from detector.face_crop import crop_face, to_network_input
from detector.face_follower import DETECT_EVERY, FaceFollower
from detector.factory import build_finder, build_scorer
from detector.model_artifact import open_arrays, read_manifest
from detector.types import DetectedFace, FaceBox

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rgb = NDArray[np.uint8]
    Score = Callable[[Rgb], float]

if find_spec("mtcnn") is None:      # fails here, instead of with a traceback from another process
    raise ImportError("No module named 'mtcnn'")

DEFAULT_CLIP = Path(__file__).resolve().parent.parent / "api" / "demo_media" / "sample_call.mp4"
_WARM_UP = 6            # samples; two whole cycles of detecting and following, as is a turn
_TURN_SAMPLES = 6
_RATE_HZ = 2.0
_KEYPOINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def bench_detector(frames: int = 48, clip: Path = DEFAULT_CLIP) -> dict[str, Any]:
    """Returns milliseconds per sample of each variant, averaged over a cycle of detecting and following.

    `ratio` is `naive_ms` over `ours_ms`; `logit_gap` is the median absolute difference of their logits.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pictures = _samples(clip, frames + _WARM_UP)
    taken: dict[str, list[float]] = {name: [] for name in _VARIANTS}
    logits: dict[str, list[float]] = {name: [] for name in _VARIANTS}
    spawn = get_context("spawn")
    with ExitStack() as stack:
        run = {name: stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn)).submit for name in _VARIANTS}
        for turn, start in enumerate(range(0, len(pictures), _TURN_SAMPLES)):
            # The order changes with every turn, so that no variant always finds the caches as another one left them. A
            # turn is several frames long, because a service finds the caches as it left them itself.
            for name in _rotated(list(_VARIANTS), turn):
                for rgb in pictures[start : start + _TURN_SAMPLES]:
                    took_ms, logit = run[name](_timed, name, cores, rgb).result()
                    taken[name].append(took_ms)
                    logits[name].append(logit)
    gaps = np.abs(np.array(logits["ours"]) - np.array(logits["naive"]))
    spent = {name: _cycle_ms(values) for name, values in taken.items()}
    return {
        **{f"{name}_ms": round(value, 2) for name, value in spent.items()},
        "ours_seeking_ms": round(median(taken["ours"][_WARM_UP::DETECT_EVERY]), 2),
        "ratio": round(spent["naive"] / spent["ours"], 1),
        "ratio_one_thread": round(spent["naive"] / spent["ours_one_thread"], 1),
        "frames": frames,
        "frame_size": f"{pictures[0].shape[1]}x{pictures[0].shape[0]}",
        "cores": cores,
        "logit_gap": round(float(np.nanmedian(gaps)), 3),
    }


def _timed(name: str, cores: int, rgb: Rgb) -> tuple[float, float]:
    """Returns milliseconds and logit; runs in the process of the variant."""
    score = _variant(name, cores)
    started = time.perf_counter()
    logit = score(rgb)
    return (time.perf_counter() - started) * 1000, logit


@cache
def _variant(name: str, cores: int) -> Score:
    return _VARIANTS[name](cores)


def _samples(clip: Path, wanted: int) -> list[Rgb]:
    """Returns the first `wanted` frames of the clip, half a second apart, as RGB uint8 (h, w, 3)."""
    chosen: list[Rgb] = []
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= len(chosen) / _RATE_HZ:
                chosen.append(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
            if len(chosen) == wanted:
                break
    return chosen


def _cycle_ms(taken: list[float]) -> float:
    """Returns the mean over a cycle of the median of each of its samples; faces are detected in the first."""
    medians = [median(taken[_WARM_UP + offset :: DETECT_EVERY]) for offset in range(DETECT_EVERY)]
    return sum(medians) / DETECT_EVERY


def _rotated(names: list[str], by: int) -> list[str]:
    return names[by % len(names) :] + names[: by % len(names)]


def _ours(config: DetectorConfig) -> Score:
    finder, scorer, tracks = build_finder(config), build_scorer(config), FaceFollower()
    times_s = (number / _RATE_HZ for number in count())

    def score(rgb: Rgb) -> float:
        faces = tracks.find(finder, rgb, next(times_s), 16)
        return scorer.score([crop_face(rgb, faces[0][1])])[0].logit if faces else float("nan")

    return score


def build_naive(config: DetectorConfig) -> Score:
    """Builds the baseline: `mtcnn` with its defaults, and Keras `predict` on the same weights, frame by frame."""
    from mtcnn import MTCNN

    from detector.xception_keras import build_keras_model

    detector = MTCNN()
    model = build_keras_model(open_arrays(config.weights_dir, read_manifest(config.weights_dir)).arrays)

    def score(rgb: Rgb) -> float:
        found = detector.detect_faces(rgb)
        if not found:
            return float("nan")
        crop = crop_face(rgb, _as_face(max(found, key=lambda face: face["box"][2] * face["box"][3])))
        return float(model.predict(to_network_input([crop]), verbose=0)[0, 0])

    return score


def _as_face(found: dict[str, Any]) -> DetectedFace:
    left, top, width, height = map(float, found["box"])
    landmarks = np.array([found["keypoints"][name] for name in _KEYPOINTS], dtype=np.float32)
    return DetectedFace(FaceBox(left, top, left + width, top + height), float(found["confidence"]), landmarks)


_VARIANTS: dict[str, Callable[[int], Score]] = {
    "ours": lambda cores: _ours(DetectorConfig(num_threads=cores)),
    "ours_one_thread": lambda cores: _ours(DetectorConfig()),
    "naive": lambda cores: build_naive(DetectorConfig()),       # uses all cores by default
}
