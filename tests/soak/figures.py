"""Output of a soak test's figures: lines on the terminal, and JSON in the folder `DEEPGUARD_TEST_OUT`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def show(name: str, figures: dict[str, Any]) -> None:
    """Prints a line per figure; writes `NAME.json` if a folder is given."""
    for key, value in figures.items():
        print(f"{key:20} {value}")
    if out := os.environ.get("DEEPGUARD_TEST_OUT", ""):
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(figures, indent=2))
