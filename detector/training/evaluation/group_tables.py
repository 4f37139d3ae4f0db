"""Offsets between groups of real faces as Markdown."""

from __future__ import annotations

from typing import Any

from detector.training.evaluation.group_offsets import MAX_OFFSET

_NOTE = (
    "Real photos that were not trained on. Offset: mean logit of the group minus that of all other faces, in standard "
    "deviations within groups; above 0 the group looks more fake. Skin tone by ITA, which depends on the light too. "
    "False alarms: faces above the threshold that 5 % of all these faces exceed."
)


def group_tables(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Returns the lines of all conditions and a verdict on the offsets of skin tones."""
    if not any(found.values()):
        return []
    lines = ["## Groups of real faces", "", _NOTE, ""]
    head = ["condition", "trait", "group", "faces", "people", "offset", "false alarms"]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for condition, rows in found.items():
        for row in rows:
            offset = row["offset"]
            cells = [
                condition, row["trait"], row["name"], str(row["faces"]), str(row["people"]),
                f"{offset['value']:+.2f} [{offset['low']:+.2f}, {offset['high']:+.2f}]", f"{row['false_alarms']:.3f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", _defects(found), ""]


def _defects(found: dict[str, list[dict[str, Any]]]) -> str:
    tones = [(name, row) for name, rows in found.items() for row in rows if row["trait"] == "tone"]
    beyond = [f"{row['name']} ({name})" for name, row in tones if abs(row["offset"]["value"]) > MAX_OFFSET]
    if not beyond:
        return f"All skin tones have offsets of at most {MAX_OFFSET}."
    return f"Defect: these skin tones have offsets above {MAX_OFFSET}: {', '.join(beyond)}."
