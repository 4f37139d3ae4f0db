"""The tables of `window_trial.measure` as Markdown."""

from __future__ import annotations

from typing import Any

Figures = dict[str, Any]

_WINDOWS = """## Windows of {window_s:.0f} s, by the live rule

Footage at {rate_hz:g} frames per second, of each clip the first {longest_s:.0f} s; the largest face of a frame stands
for the clip. Each window is judged alone: `FAKE` where the alarm rings in it, else the label at its end. A clip that
is shorter is one window; what is left behind the last whole one is not judged, nor is a window without a face.
"Alarms" are clips in which the alarm rings when the sums run on to the end, as they do in a call.
"""
_BOUND = """
Intervals of `FAKE`: 95 %, bootstrap over groups. "At most" is the upper end of that; where no window of real people
was called `FAKE` a bootstrap cannot tell, and it is the rule of three, 3 / n with the n *clips* as the units, since
the windows of one clip are alike. Showing a share of 1 % that way takes 300 clips. Conditions change the same clips:
all of them together are no more evidence than one. The statistics of the rule come from real clips too, and where
those are the same the figures flatter.
"""
_SIZES = """
## Windows by size of the face

The same rule on the same footage as it came and scaled down (the frames, not the crops), by the median of the shorter
side of the box. Not every clip has every size: none is scaled up.

| face | windows | clips | right | wrong | UNCERTAIN | real people called FAKE | swaps called REAL |
|---|---|---|---|---|---|---|---|"""
_HEAD = """| condition | clips | windows of real people | FAKE | at most | UNCERTAIN | REAL | alarms """
_HEAD_FAKES = "| windows of swaps | FAKE | UNCERTAIN | REAL | alarms "


def window_tables(found: Figures) -> list[str]:
    """Lines; one sentence where nothing was judged."""
    if "left_out" in found:
        return ["## Windows of 10 s, by the live rule", "", f"Not judged: {found['left_out']}.", ""]
    rows = found["conditions"]
    has_fakes = any(row["fake"] for row in rows.values())
    head = _HEAD + (_HEAD_FAKES if has_fakes else "") + "|"
    lines = [_WINDOWS.format(**found), head, "|---" * (head.count("|") - 1) + "|"]
    lines += [_row(name, row, has_fakes) for name, row in rows.items()]
    return [*lines, _BOUND.rstrip(), *_by_size(found["sizes"]), ""]


def _row(name: str, row: dict[str, Figures | None], has_fakes: bool) -> str:
    cells = [name, *_reals(row["real"]), *(_fakes(row["fake"]) if has_fakes else [])]
    return "| " + " | ".join(cells) + " |"


def _reals(found: Figures | None) -> list[str]:
    if found is None:
        return [""] * 7
    return [
        str(found["clips"]), str(found["windows"]), _interval(found["fake"]), _percent(found["fake_at_most"]),
        _percent(found["uncertain"]), _percent(found["real"]), _alarms(found),
    ]  # fmt: skip


def _fakes(found: Figures | None) -> list[str]:
    if found is None:
        return [""] * 5
    return [
        str(found["windows"]), _interval(found["fake"]), _percent(found["uncertain"]), _percent(found["real"]),
        _alarms(found),
    ]  # fmt: skip


def _by_size(rows: dict[str, Figures]) -> list[str]:
    lines = [_SIZES]
    for name, row in rows.items():
        shares = " | ".join(_percent(row[key]) for key in ("right", "wrong", "uncertain"))
        errors = f"{row['reals_called_fake']} | {row['fakes_called_real']}"
        lines.append(f"| {name} | {row['windows']} | {row['clips']} | {shares} | {errors} |")
    return lines


def _alarms(found: Figures) -> str:
    return f"{found['alarmed']} of {found['tracks']}"


def _interval(found: Figures) -> str:
    return f"{_percent(found['value'])} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
