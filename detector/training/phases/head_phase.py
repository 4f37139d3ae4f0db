"""Phase `head`: one dense unit on frozen features; cross-validation chooses its penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.training.evaluation.calibration_fit import group_weights
from detector.training.phases import head_model
from detector.training.phases.phase_interface import PhaseResult
from detector.xception_openvino import HEAD_BIAS, HEAD_KERNEL

if TYPE_CHECKING:
    from detector.training.phases.phase_interface import Arrays, PhaseInputs

# Share of the loss that swapped footage has, where there is any; the rest is pseudo-fakes.
_CLIP_SHARE = 0.5
_WARM_PENALTY = 0.1


def fit_head(inputs: PhaseInputs) -> PhaseResult:
    """Runs the phase: chooses the penalty, then fits the head on all rows."""
    config = inputs.config
    data, pseudo_count = _head_data(inputs)
    inputs.progress("head: cross-validation", 0.0)
    penalty = head_model.choose_penalty(data, config.folds, config.seed)
    inputs.progress("head", 0.0)
    kernel, bias = head_model.fit_heads(data, (penalty.chosen,), config.seed)
    arrays = {**inputs.base, HEAD_KERNEL: kernel, HEAD_BIAS: bias}
    losses = {str(key): round(value, 4) for key, value in penalty.losses.items()}
    return PhaseResult(arrays, penalty.logits[pseudo_count:], {"penalty": penalty.chosen, "held_out_nats": losses})


def warm_start(inputs: PhaseInputs) -> Arrays:
    """Returns a head fitted on the pseudo-fakes alone, so that no fold starts from its own clips."""
    data, pseudo_count = _head_data(inputs)
    kernel, bias = head_model.fit_heads(data.take(np.arange(pseudo_count)), (_WARM_PENALTY,), inputs.config.seed)
    return {**inputs.base, HEAD_KERNEL: kernel, HEAD_BIAS: bias}


def _head_data(inputs: PhaseInputs) -> tuple[head_model.HeadData, int]:
    """Returns all training rows, pseudo-fakes first, and the number of pseudo-fakes."""
    pseudo, clips = (inputs.samples(name).rows for name in ("train", "clips"))
    rows = np.concatenate([pseudo, clips])
    weights = np.ones(len(rows))
    if len(clips):
        balanced = group_weights(clips["label"].astype(np.int64), clips["group"])
        weights[len(pseudo) :] = balanced * _CLIP_SHARE / (1 - _CLIP_SHARE) * len(pseudo) / len(clips)
    pooled = np.concatenate([inputs.features(name).pooled for name in ("train", "clips")])
    data = head_model.HeadData(pooled, rows["label"].astype(np.int64), weights / weights.mean(), rows["group"])
    return data, len(pseudo)
