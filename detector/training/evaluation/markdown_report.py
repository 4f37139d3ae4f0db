"""Evaluation report: the results of `evaluate` as Markdown tables and a bar chart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from detector.training.evaluation.group_tables import group_tables
from detector.training.evaluation.plots import bars_png
from detector.training.evaluation.tool_tables import tool_tables
from detector.training.evaluation.window_tables import window_tables

if TYPE_CHECKING:
    from pathlib import Path

    Metrics = dict[str, Any]

RESULTS_FILE, MARKDOWN_FILE, BARS_FILE = "results.json", "report.md", "conditions.png"
_HEAD = (
    "| {first} | frames | clip AUC | frame AUC | of like sharpness | right order | EER | TPR at 1 % | nats | ECE "
    "| abstains | rho(sharpness) |"
)
_CALLED = (
    "Called fake: the evidence of all frames of a clip, discounted for their correlation, exceeds Wald's bound for one "
    "false alarm in a hundred. The alarm of a live call is stricter."
)
_SEEN = (
    "This model was trained on swapped footage, possibly on the clips of this data, so they are left out. For its "
    "results on unseen clips see the cross-validation."
)
_WAYS = (
    "Clip AUC on the same frames. The model of the window is a regression over mean, standard deviation and mean "
    "absolute change of logit and contrast, fitted to the clips of other groups. Where the swap begins half-way, the "
    "first half of the original is the history."
)
_OF_PAIRS = ("footage", "conditions", "face_sizes")


def write(out: Path, results: dict[str, Any]) -> None:
    """Writes `results.json`, `report.md` and `conditions.png` into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULTS_FILE).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    conditions = results["conditions"] if results["unseen"] else {}
    bars_png(out / BARS_FILE, {
        name: (auc["value"], auc["low"], auc["high"])
        for name, found in conditions.items() if found and (auc := found["clip_auc"])
    })
    title = f"# Evaluation of {results['model']['name']}\n\n"
    (out / MARKDOWN_FILE).write_text(title + tables(results) + f"\n![clip AUC by condition]({BARS_FILE})\n", "utf-8")


def tables(results: dict[str, Any]) -> str:
    """Returns all tables as Markdown, each under its own heading."""
    parts = [] if results["unseen"] else [_SEEN, ""]
    parts += ["Intervals: 95 %, bootstrap over groups. A clip is one half of one recording, with one face.", ""]
    headings = (
        ("Swapped footage", "scorer", "footage"), ("Swapped footage, by condition", "condition", "conditions"),
        ("Pseudo-fakes of other people, by family", "family", "families"),
        ("Swapped footage, by size of the face", "face", "face_sizes"),
    )  # fmt: skip
    for heading, first, key in headings:
        if key in _OF_PAIRS and not results["unseen"]:
            continue
        parts += [f"## {heading}", "", *_table(first, results[key]), ""]
    parts += temporal_tables(results["looks"]) if results["unseen"] else []
    parts += [*_positives(results["false_positives"]), *group_tables(results.get("groups", {}))]
    return "\n".join([*tool_tables(results.get("tools", {})), *parts, *window_tables(results["windows"])])


def temporal_tables(found: dict[str, dict[str, Metrics]]) -> list[str]:
    """Returns the lines of the table of temporal baselines: clip AUC by condition."""
    if not found:
        return []
    ways = list(dict.fromkeys(way for row in found.values() for way in row))
    lines = [
        "## Scores that cancel the offset of a clip", "", _WAYS, "", f"| condition | {' | '.join(ways)} |",
        "|---" * (len(ways) + 1) + "|",
    ]  # fmt: skip
    for name, row in found.items():
        lines.append(f"| {name} | {' | '.join(_estimate(row.get(way)) for way in ways)} |")
    return [*lines, ""]


def _table(first: str, rows: dict[str, Metrics | None]) -> list[str]:
    head = _HEAD.format(first=first)
    return [head, "|---" * (head.count("|") - 1) + "|", *(_row(name, found) for name, found in rows.items() if found)]


def _row(name: str, found: Metrics) -> str:
    calibrated = name not in ("random head", "softness", "contrast")
    cells = [
        name, str(found["rows"]), _estimate(found["clip_auc"]), _estimate(found["frame_auc"]),
        f"{found['matched_auc']:.3f}", _estimate(found["paired"]), f"{found['equal_error']:.2f}",
        f"{found['tpr_at_1']:.2f}", *(f"{found[key]:.3f}" if calibrated else "" for key in ("nats", "ece", "abstains")),
        f"{found['sharpness_rho']:+.2f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _estimate(found: Metrics | None) -> str:
    return "" if found is None else f"{found['value']:.3f} [{found['low']:.2f}, {found['high']:.2f}]"


def _positives(found: dict[str, dict[str, float]]) -> list[str]:
    lines = ["## Real clips", "", "| condition | clips | called fake | frames above .9 |", "|---|---|---|---|"]
    for name, row in found.items():
        lines.append(f"| {name} | {row['clips']:.0f} | {row['called_fake']:.3f} | {row['frames']:.3f} |")
    return [*lines, "", _CALLED, ""]
