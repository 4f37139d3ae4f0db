"""Head model: one dense unit on pooled features, in Keras. Needs the `train` extra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.training.evaluation.estimates import grouped_folds, negative_log_likelihood
from detector.xception_openvino import FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

PENALTIES = (1e-2, 3e-2, 1e-1, 3e-1, 1.0)
_EPOCHS = 40
_BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class HeadData:
    """Training data of the head: `pooled` float32 (n, 2048), `labels` 0 or 1, loss `weights`, and `groups`.

    Folds never split a group.
    """

    pooled: Floats
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    groups: NDArray[np.str_]

    def take(self, rows: NDArray[Any]) -> HeadData:
        """Returns the given rows."""
        return HeadData(self.pooled[rows], self.labels[rows], self.weights[rows], self.groups[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Penalty:
    """The L2 penalty of lowest held-out loss, the loss (nats) of every candidate, and the held-out logits under it."""

    chosen: float
    losses: dict[float, float]
    logits: Floats


def fit_heads(data: HeadData, penalties: tuple[float, ...], seed: int) -> tuple[Floats, Floats]:
    """Returns kernels (2048, k) and biases (k,) for raw features, one column per L2 penalty on standardised features.

    The columns share only the batches, so one fit gives the same result as k fits.
    """
    import keras

    keras.utils.set_random_seed(seed)
    strengths = np.array(penalties, dtype=np.float32) / len(penalties)

    def penalise(kernel: Any) -> Any:
        return keras.ops.sum(keras.ops.multiply(keras.ops.square(kernel), strengths))

    mean, scale = data.pooled.mean(axis=0), np.maximum(data.pooled.std(axis=0), 1e-3)
    unit = keras.layers.Dense(len(penalties), kernel_initializer="zeros", kernel_regularizer=penalise)
    model = keras.Sequential([keras.layers.Input((FEATURES,)), unit])
    rate = keras.optimizers.schedules.CosineDecay(3e-3, _EPOCHS * -(-len(data.labels) // _BATCH))
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    standard = ((data.pooled - mean) / scale).astype(np.float32)
    wanted = np.repeat(data.labels[:, None].astype(np.float32), len(penalties), axis=1)
    model.fit(standard, wanted, sample_weight=data.weights, batch_size=_BATCH, epochs=_EPOCHS, verbose=0)
    kernels, biases = unit.get_weights()
    kernels = kernels / scale[:, None]
    return kernels.astype(np.float32), (biases - mean @ kernels).astype(np.float32)


def choose_penalty(data: HeadData, folds: int, seed: int) -> Penalty:
    """Cross-validates all penalties over groups; each row is scored by the fit that did not see its group."""
    fold = grouped_folds(data.groups, folds, seed)
    logits = np.zeros((len(fold), len(PENALTIES)), dtype=np.float32)
    for index in np.unique(fold):
        kernels, biases = fit_heads(data.take(fold != index), PENALTIES, seed)
        logits[fold == index] = data.pooled[fold == index] @ kernels + biases
    losses = {
        penalty: negative_log_likelihood(data.labels, logits[:, column], data.weights)
        for column, penalty in enumerate(PENALTIES)
    }
    chosen = min(losses, key=lambda penalty: losses[penalty])
    return Penalty(chosen, losses, logits[:, PENALTIES.index(chosen)])
