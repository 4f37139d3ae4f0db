"""What a soak says at its end: to people on the terminal, to programs in the folder `DEEPGUARD_TEST_OUT`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def show(name: str, figures: dict[str, Any]) -> None:
    """Prints a line per figure; writes `NAME.json` where a folder is given."""
    for key, value in figures.items():
        print(f"{key:20} {value}")
    if out := os.environ.get("DEEPGUARD_TEST_OUT", ""):
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(figures, indent=2))
