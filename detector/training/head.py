"""The head alone: one dense unit on pooled features, in Keras. Needs the `train` extra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.training.evaluate import grouped_folds, negative_log_likelihood
from detector.xception_graph import FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

PENALTIES = (1e-2, 3e-2, 1e-1, 3e-1, 1.0)
_EPOCHS = 40
_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class HeadData:
    """`pooled` float32 (n, 2048); `labels` 0 or 1; `weights` of the loss; `groups` are never split."""

    pooled: Floats
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    groups: NDArray[np.str_]

    def take(self, rows: NDArray[Any]) -> HeadData:
        return HeadData(self.pooled[rows], self.labels[rows], self.weights[rows], self.groups[rows])


def fit_head(data: HeadData, penalty: float, seed: int) -> tuple[Floats, Floats]:
    """Kernel (2048, 1) and bias (1,) for raw features, with an L2 penalty on the standardised ones."""
    import keras

    keras.utils.set_random_seed(seed)
    mean = data.pooled.mean(axis=0)
    scale = np.maximum(data.pooled.std(axis=0), 1e-3)
    unit = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=keras.regularizers.L2(penalty))
    model = keras.Sequential([keras.layers.Input((FEATURES,)), unit])
    steps = _EPOCHS * -(-len(data.labels) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    standard = ((data.pooled - mean) / scale).astype(np.float32)
    model.fit(
        standard, data.labels[:, None].astype(np.float32), sample_weight=data.weights, batch_size=_BATCH,
        epochs=_EPOCHS, verbose=0,
    )
    kernel, bias = unit.get_weights()
    kernel = kernel / scale[:, None]
    return kernel.astype(np.float32), (bias - mean @ kernel).astype(np.float32)


def choose_penalty(data: HeadData, folds: int, seed: int) -> tuple[float, dict[float, float]]:
    """The penalty with the lowest held-out loss over groups, and the loss (nats) of each."""
    fold = grouped_folds(data.groups, folds, seed)
    losses = {}
    for penalty in PENALTIES:
        logits = np.zeros(len(fold))
        for index in range(folds):
            kernel, bias = fit_head(data.take(fold != index), penalty, seed)
            logits[fold == index] = (data.pooled[fold == index] @ kernel + bias)[:, 0]
        losses[penalty] = negative_log_likelihood(data.labels, logits, data.weights)
    return min(losses, key=lambda penalty: losses[penalty]), losses
