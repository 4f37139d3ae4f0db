"""Plots of training and evaluation, drawn with OpenCV: loss curves, bars, contact sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_WIDTH_PX, _HEIGHT_PX, _MARGIN_PX = 900, 420, 50
_INK = (60, 60, 60)
_COLOURS = (
    (180, 110, 30), (40, 120, 200), (60, 150, 60), (150, 60, 150), (30, 30, 200), (120, 120, 120), (160, 160, 0),
    (0, 80, 130),
)  # fmt: skip
_SMOOTHED_STEPS = 15


def curves_png(path: Path, curves: Mapping[str, Sequence[float]]) -> None:
    """Plots losses over steps as moving means of 15 steps, with one legend line per curve."""
    canvas = np.full((_HEIGHT_PX, _WIDTH_PX, 3), 255, np.uint8)
    smooth = {name: _smoothed(np.asarray(values, np.float64)) for name, values in curves.items() if len(values)}
    if smooth:
        highest = max(float(values.max()) for values in smooth.values())
        longest = max(len(values) for values in smooth.values())
        _axes(canvas, highest, longest)
        for place, (name, values) in enumerate(smooth.items()):
            colour = _COLOURS[place % len(_COLOURS)]
            across = np.linspace(_MARGIN_PX, _WIDTH_PX - _MARGIN_PX, longest)[: len(values)]
            down = _HEIGHT_PX - _MARGIN_PX - values / max(highest, 1e-9) * (_HEIGHT_PX - 2 * _MARGIN_PX)
            points = np.rint(np.stack([across, down], axis=1)).astype(np.int32)
            cv2.polylines(canvas, [points], False, colour, 2, cv2.LINE_AA)
            _write(canvas, name, (_WIDTH_PX - 220, 30 + 20 * place), colour)
    cv2.imwrite(str(path), canvas)


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.cumsum(np.insert(values, 0, 0.0))
    starts = np.maximum(np.arange(1, len(values) + 1) - _SMOOTHED_STEPS, 0)
    ends = np.arange(1, len(values) + 1)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def _axes(canvas: NDArray[np.uint8], highest: float, longest: int) -> None:
    left, bottom = _MARGIN_PX, _HEIGHT_PX - _MARGIN_PX
    cv2.line(canvas, (left, bottom), (_WIDTH_PX - _MARGIN_PX, bottom), _INK, 1)
    cv2.line(canvas, (left, _MARGIN_PX), (left, bottom), _INK, 1)
    _write(canvas, f"{highest:.2f}", (4, _MARGIN_PX + 4), _INK)
    _write(canvas, "0", (30, bottom + 4), _INK)
    _write(canvas, f"step {longest}", (_WIDTH_PX - 120, bottom + 24), _INK)


def _write(canvas: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def bars_png(path: Path, bars: Mapping[str, tuple[float, float, float]]) -> None:
    """Plots (value, low, high) in 0..1 per name: a bar from 0.5 to the value, and a line for the interval."""
    row_px, left, width = 22, 190, 600
    canvas = np.full((row_px * (len(bars) + 2), left + width + 80, 3), 255, np.uint8)

    def across(value: float) -> int:
        return left + round(float(np.clip(value, 0.0, 1.0)) * width)

    for place, (name, (value, low, high)) in enumerate(bars.items()):
        top = row_px * (place + 1)
        _write(canvas, name, (6, top + 12), _INK)
        cv2.rectangle(canvas, (across(0.5), top + 3), (across(value), top + 14), _COLOURS[0], -1)
        cv2.line(canvas, (across(low), top + 9), (across(high), top + 9), _INK, 1)
        _write(canvas, f"{value:.2f}", (left + width + 12, top + 12), _INK)
    cv2.line(canvas, (across(0.5), 0), (across(0.5), canvas.shape[0]), _INK, 1)
    cv2.imwrite(str(path), canvas)


def sheet_png(path: Path, rows: Mapping[str, NDArray[np.uint8]], side_px: int = 112) -> None:
    """Writes a contact sheet: per name one row of up to twelve pictures, uint8 (n, h, w, 3) RGB."""
    lines = []
    for name, pictures in rows.items():
        small = [cv2.resize(np.asarray(p), (side_px, side_px), interpolation=cv2.INTER_AREA) for p in pictures[:12]]
        blank = [np.full((side_px, side_px, 3), 255, np.uint8)] * (12 - len(small))
        label = np.full((18, 12 * side_px, 3), 255, np.uint8)
        _write(label, name, (2, 13), _INK)
        lines += [label, np.concatenate([*small, *blank], axis=1)[:, :, ::-1]]
    if lines:
        cv2.imwrite(str(path), np.concatenate(lines, axis=0))
