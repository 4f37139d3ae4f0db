"""OpenVINO with its telemetry disabled: the only module that imports the library.

`import openvino` loads `openvino_telemetry`, which contacts an analytics host and writes `~/intel/`, unless `CI` is
set. When that package cannot be imported, OpenVINO uses a stub of its own that sends nothing; the import is therefore
blocked here, before OpenVINO is loaded.
"""

from __future__ import annotations

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # makes the import raise ModuleNotFoundError

import openvino as ov
from openvino import opset13 as ops

__all__ = ["ops", "ov"]
