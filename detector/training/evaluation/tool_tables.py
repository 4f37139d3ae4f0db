"""Metrics by swap tool as Markdown, with a summary for operators."""

from __future__ import annotations

from typing import Any

Metrics = dict[str, Any]

_NOTE = (
    "Every clip is scored by a network trained without its tool and its person; of the tool `video_pairs`, only "
    "its person is left out. Right order: the fake scores above its own real. AUC: all fakes against all reals of "
    "the tool. Copies of one network count as one tool in the means."
)
# Shares of clips in the right order from which a tool counts as found, or found sometimes; 0.5 is chance.
_FOUND, _HARDLY = 0.85, 0.7


def tool_tables(found: Metrics) -> list[str]:
    """Returns the lines of all conditions, the summary first; the reason where nothing was measured."""
    if not found:
        return []
    if not found["conditions"]:
        return ["## By swap tool", "", f"Not measured: {found['left_out']}.", ""]
    lines = ["## By swap tool", "", _NOTE, "", expectation(next(iter(found["conditions"].values()))), ""]
    for name, summary in found["conditions"].items():
        lines += [f"### {name[0].upper()}{name[1:]}", "", *_table(summary), "", _means(summary), ""]
    return lines


def expectation(summary: Metrics) -> str:
    """Returns a sentence that groups the tools by the share of clips in the right order."""
    groups: dict[str, list[str]] = {"are mostly found": [], "are sometimes found": [], "are not found": []}
    names = list(groups)
    for row in summary["tools"]:
        order = row["order"]["value"]
        place = 0 if order >= _FOUND else 1 if order >= _HARDLY else 2
        groups[names[place]].append(f"{row['tool']} ({row['clips']})")
    parts = [f"fakes of {', '.join(tools)} {what}" for what, tools in groups.items() if tools]
    return (
        f"What to expect when a fake is compared with the same person's real picture: {'; '.join(parts)}. Numbers of "
        "clips are in brackets; with fewer than ten the result is uncertain. Without such a comparison, see AUC."
    )


def _table(summary: Metrics) -> list[str]:
    head = ["tool", "clips", "people", "right order", "AUC", "mean real", "mean fake", "SD of reals"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in (*summary["tools"], summary["together"]):
        cells = [
            row["tool"], str(row["clips"]), str(row["groups"]), estimate(row["order"]), estimate(row["auc"]),
            *(f"{row[key]:+.2f}" for key in ("mean_real", "mean_fake")), f"{row['real_sd']:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _means(summary: Metrics) -> str:
    spread = "not defined" if summary["spread"] is None else f"{summary['spread']:.2f}"
    return (
        f"Over left-out tools: mean right order {summary['mean_order']:.3f}, mean AUC {summary['mean_auc']:.3f}, worst "
        f"right order {summary['worst_order']:.3f} ({summary['worst_tool']}). Standard deviation of real people's mean "
        f"logits, in units of the mean distance between a fake and its real: {spread}."
    )


def estimate(found: Metrics) -> str:
    """Returns a value with its interval."""
    return f"{found['value']:.3f} [{found['low']:.2f}, {found['high']:.2f}]"
