"""Model folder: `manifest.json`, and the array file whose SHA-256 it holds.

The hash is checked before any array is parsed, and nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from detector.array_file import MappedArrays
from detector.errors import InvalidArrayFile, WeightsRefused
from detector.frequency import FrequencyModel
from detector.fusion import Calibration
from detector.types import EvidenceStats, ModelInfo, NetworkInput, Padding

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST_FILE = "manifest.json"
FORMAT = "deepguard-xception/2"
# The input that the code gives every network; a manifest with another one was made for other preprocessing.
INPUT = {"colour": "rgb", "range": [-1.0, 1.0], "crop_scale": 1.3}

_MANIFEST_LIMIT_BYTES = 256 * 1024
# Imported weights stay float32: 84 MB.
_ARRAYS_LIMIT_BYTES = 96 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Manifest:
    """Description of a model. `trained` is free-form provenance: data, settings, results.

    `calibration` is None for imported weights that were not yet calibrated. `is_trained` false marks a network without
    training, whose manifest `read_manifest` refuses.
    """

    name: str
    version: str
    arrays_file: str
    sha256: str
    calibration: Calibration | None
    frequency: FrequencyModel | None
    trained: dict[str, Any]
    evidence: EvidenceStats | None = None
    network_input: NetworkInput = field(default_factory=NetworkInput)
    is_trained: bool = True

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(self.name, self.version, self.sha256, self.evidence, self.calibration is not None)


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a model folder. Raises WeightsRefused where it is missing or cannot be used."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise WeightsRefused(f"{folder}: no {MANIFEST_FILE}, so this is no model folder")
    if path.stat().st_size > _MANIFEST_LIMIT_BYTES:
        raise WeightsRefused(f"{MANIFEST_FILE}: larger than {_MANIFEST_LIMIT_BYTES} bytes")
    try:
        return _parse(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsRefused(f"{MANIFEST_FILE}: {type(error).__name__}: {error}") from error


def _parse(content: dict[str, Any]) -> Manifest:
    if content["format"] != FORMAT:
        raise WeightsRefused(f"{MANIFEST_FILE}: expected format {FORMAT!r}, got {content['format']!r}")
    if content.get("untrained", False):
        raise WeightsRefused(f"{MANIFEST_FILE}: this network was never trained, so it is no model")
    ((arrays_file, sha256),) = content["files"].items()
    if "/" in arrays_file or "\\" in arrays_file or not arrays_file.endswith(".npz"):
        raise WeightsRefused(f"{MANIFEST_FILE}: expected an .npz file in the same folder, got {arrays_file!r}")
    return Manifest(
        name=str(content["name"]),
        version=str(content["version"]),
        arrays_file=arrays_file,
        sha256=str(sha256),
        calibration=None if content["calibration"] is None else parse_calibration(content["calibration"]),
        frequency=parse_frequency(content["frequency"]),
        trained=dict(content["trained"]),
        evidence=parse_evidence(content.get("evidence")),
        network_input=_parse_input(content["input"]),
    )


def _parse_input(content: dict[str, Any]) -> NetworkInput:
    given = dict(content)
    size_px, padding = given.pop("size_px"), Padding(given.pop("padding", Padding.BEHIND))
    if given != INPUT or not isinstance(size_px, int):
        raise WeightsRefused(f"{MANIFEST_FILE}: expected the input {INPUT} with size_px, got {content}")
    return NetworkInput(size_px, padding)


def parse_evidence(content: dict[str, float] | None) -> EvidenceStats | None:
    """Returns the evidence statistics, or None where none were measured. Raises TypeError or ValueError."""
    return None if content is None else EvidenceStats(**{name: float(number) for name, number in content.items()})


def parse_calibration(content: dict[str, float]) -> Calibration:
    """Returns the calibration. Raises TypeError or ValueError for other keys or unusable numbers."""
    return Calibration(**{name: float(number) for name, number in content.items()})


def parse_frequency(content: dict[str, Any] | None) -> FrequencyModel | None:
    """Returns the frequency model, or None where there is none. Raises KeyError, TypeError or ValueError."""
    if content is None:
        return None
    mean, scale, coefficients = (
        tuple(float(number) for number in content[key]) for key in ("mean", "scale", "coefficients")
    )
    return FrequencyModel(mean, scale, coefficients, float(content["intercept"]))


def open_arrays(folder: Path, manifest: Manifest) -> MappedArrays:
    """Maps the array file after checking its size and SHA-256. Raises WeightsRefused."""
    path = folder / manifest.arrays_file
    try:
        size = path.stat().st_size
        if size > _ARRAYS_LIMIT_BYTES:
            raise WeightsRefused(f"{path.name}: {size} bytes, more than {_ARRAYS_LIMIT_BYTES}")
        return MappedArrays(path, manifest.sha256)
    except OSError as error:
        raise WeightsRefused(f"{path.name} cannot be read: {error.strerror}") from error
    except InvalidArrayFile as error:
        raise WeightsRefused(str(error)) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `manifest.json` into `folder`, beside the array file."""
    content = {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "files": {manifest.arrays_file: manifest.sha256},
        "input": {"size_px": manifest.network_input.size_px, **INPUT, "padding": manifest.network_input.padding},
        "calibration": None if manifest.calibration is None else asdict(manifest.calibration),
        "frequency": None if manifest.frequency is None else asdict(manifest.frequency),
        "evidence": None if manifest.evidence is None else asdict(manifest.evidence),
        "trained": manifest.trained,
        **({} if manifest.is_trained else {"untrained": True}),
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
