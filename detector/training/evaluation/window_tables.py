"""Window evaluation (`window_scoring.measure_windows`) as Markdown tables."""

from __future__ import annotations

from typing import Any

from detector.training.evaluation.window_verdicts import FAKE

Metrics = dict[str, Any]

_HEADING = "## Windows of 10 s"
_WINDOWS = """
Footage at {rate_hz:g} frames per second, the first {longest_s:.0f} s of each clip, the largest face of each frame. Each
window of {window_s:.0f} s gets its own verdict at default settings. By the rule of live calls it is `FAKE` if an alarm
is raised in it, else the verdict at its end; by the rule of files it is the verdict on a file of that window. A clip
shorter than a window is one window. The rest after the last whole window and windows without a face of at least 64 px
are left out. "Whole clips" counts the clips with the verdict `FAKE` if evidence accumulates from start to end.
"""
_BOUND = """
Intervals of `FAKE`: 95 %, bootstrap over groups. "At most" is their upper end. Where no window of real people is `FAKE`
it is the rule of three, 3 / n with n *clips*, since the windows of one clip are alike; a bound of 1 % needs 300 clips.
Conditions change the same clips, so together they are no more evidence than one condition. The thresholds of the rules
come from real clips too; where those are the same clips, the figures are too optimistic.
"""
_SIZES = """
### By size of the face

The same footage, unscaled and scaled down (the frames, not the crops), by the median of the shorter side of the box.
Clips are never scaled up, so not every clip has every size.

| rule | face | windows | clips | right | wrong | UNCERTAIN | real people called FAKE | swaps called REAL |
|---|---|---|---|---|---|---|---|---|"""
_HEAD = "| condition | clips | windows of real people | FAKE | at most | UNCERTAIN | REAL | whole clips "
_HEAD_FAKES = "| windows of swaps | FAKE | UNCERTAIN | REAL | whole clips "


def window_tables(found: Metrics) -> list[str]:
    """Returns the lines of all tables, or the reason why there are none."""
    if "left_out" in found:
        return [_HEADING, "", f"Not judged: {found['left_out']}.", ""]
    lines = [_HEADING, _WINDOWS.format(**found)]
    for name, tables in found["rules"].items():
        lines += [f"### By the rule of {name}", "", _reach(found, tables["of_most"]), ""]
        lines += [*_by_condition(tables["conditions"]), ""]
    lines += [_BOUND.strip(), _SIZES]
    return [*lines, *(row for name, tables in found["rules"].items() for row in _by_size(name, tables["sizes"])), ""]


def _reach(found: Metrics, of_most: str) -> str:
    """Returns a sentence on whether one window can be FAKE at all."""
    sentence = (
        f"A window of the strongest evidence that the calibration allows ({found['most_nats']:.1f} nats in each frame) "
        f"is `{of_most}`"
    )
    return f"{sentence}." if of_most == FAKE else f"{sentence}, so no window can be `FAKE`; see the whole clips."


def _by_condition(rows: dict[str, dict[str, Metrics | None]]) -> list[str]:
    has_fakes = any(row["fake"] for row in rows.values())
    head = _HEAD + (_HEAD_FAKES if has_fakes else "") + "|"
    return [head, "|---" * (head.count("|") - 1) + "|", *(_row(name, row, has_fakes) for name, row in rows.items())]


def _row(name: str, row: dict[str, Metrics | None], has_fakes: bool) -> str:
    cells = [name, *_reals(row["real"]), *(_fakes(row["fake"]) if has_fakes else [])]
    return "| " + " | ".join(cells) + " |"


def _reals(found: Metrics | None) -> list[str]:
    if found is None:
        return [""] * 7
    return [
        str(found["clips"]), str(found["windows"]), _interval(found["fake"]), _percent(found["fake_at_most"]),
        _percent(found["uncertain"]), _percent(found["real"]), _wholes(found),
    ]  # fmt: skip


def _fakes(found: Metrics | None) -> list[str]:
    if found is None:
        return [""] * 5
    return [
        str(found["windows"]), _interval(found["fake"]), _percent(found["uncertain"]), _percent(found["real"]),
        _wholes(found),
    ]  # fmt: skip


def _by_size(rule: str, rows: dict[str, Metrics]) -> list[str]:
    lines = []
    for name, row in rows.items():
        shares = " | ".join(_percent(row[key]) for key in ("right", "wrong", "uncertain"))
        errors = f"{row['reals_called_fake']} | {row['fakes_called_real']}"
        lines.append(f"| {rule} | {name} | {row['windows']} | {row['clips']} | {shares} | {errors} |")
    return lines


def _wholes(found: Metrics) -> str:
    return f"{found['alarmed']} of {found['tracks']}"


def _interval(found: Metrics) -> str:
    return f"{_percent(found['value'])} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
