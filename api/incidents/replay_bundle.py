"""`deepguard replay`: repeats the decision of an exported incident from its zip alone, and lists differences.

Four checks: files match the manifest; rules and id match the alarm; the samples lead to the verdict; the model gives
the stored scores. The last check needs the same model on this machine and unblurred faces.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from api.errors import InvalidBundle
from api.incidents.evidence_files import PicturedFrame, case_of, frames_of, rgb_of
from api.incidents.export_bundle import IncidentBundle, unpack
from detector.config import DetectorConfig
from detector.errors import DetectorError
from detector.factory import build_scorer
from detector.fusion import UNCALIBRATED, log_likelihood_ratio
from detector.model_artifact import Manifest as Weights
from detector.model_artifact import read_manifest
from detector.types import CROP_SIZE_PX, FaceBox, FaceCrop
from stream.incident_case import IncidentCase, incident_id
from stream.incident_replay import differences
from stream.types import FaceObservation

LOGIT_TOLERANCE = 0.3       # processors round 8-bit and half-precision sums differently
_LLR_TOLERANCE = 1e-6

State = Literal["match", "mismatch", "skipped"]


class ReplayCheck(NamedTuple):
    """The result of one check. `details` lists the differences, or why the check was skipped."""

    name: str
    state: State
    details: tuple[str, ...] = ()


class ReplayReport(NamedTuple):
    """The results of all checks. A skipped check does not count as a mismatch."""

    incident: str
    checks: tuple[ReplayCheck, ...]

    @property
    def matches(self) -> bool:
        return all(check.state != "mismatch" for check in self.checks)

    def as_json(self) -> dict[str, object]:
        checks = [{"name": c.name, "state": c.state, "told": list(c.details)} for c in self.checks]
        return {"incident": self.incident, "matches": self.matches, "checks": checks}

    def as_text(self) -> str:
        lines = [f"{self.incident}: {'match' if self.matches else 'MISMATCH'}"]
        for check in self.checks:
            lines.append(f"  {check.name:<10} {check.state}")
            lines.extend(f"    {text}" for text in check.details)
        return "\n".join(lines)


def replay_incident(path: Path, weights_dir: Path | None) -> ReplayReport:
    """Replays an exported incident. Takes 1 to 2 s, mostly to load the model. Raises InvalidBundle."""
    bundle = unpack(path)
    checks = [_check("files", bundle.differences)]
    try:
        case, frames = case_of(bundle.contents), frames_of(bundle.contents)
    except InvalidBundle as error:
        return ReplayReport(bundle.manifest.id, (*checks, _check("decision", (str(error),))))
    checks.append(_check("rules", _rules(bundle, case)))
    checks.append(_check("decision", differences(case)))
    checks.append(_scores(bundle, case, frames, weights_dir))
    return ReplayReport(bundle.manifest.id, tuple(checks))


def _check(name: str, details: tuple[str, ...]) -> ReplayCheck:
    return ReplayCheck(name, "mismatch" if details else "match", details)


def _skipped(why: str) -> ReplayCheck:
    return ReplayCheck("scores", "skipped", (why,))


def _rules(bundle: IncidentBundle, case: IncidentCase) -> tuple[str, ...]:
    manifest = bundle.manifest
    expected = (
        ("rules", manifest.rules_sha256, case.rules.sha256),
        ("id", manifest.id, incident_id(case.verdict)),
        ("verdict", manifest.verdict, case.verdict.id),
        ("model", manifest.model, case.model),
    )
    return tuple(f"{name}: manifest {listed}, case {own}" for name, listed, own in expected if listed != own)


def _scores(
    bundle: IncidentBundle, case: IncidentCase, frames: tuple[PicturedFrame, ...], weights_dir: Path | None
) -> ReplayCheck:
    config = DetectorConfig() if weights_dir is None else DetectorConfig(weights_dir=weights_dir)
    try:
        weights = read_manifest(config.weights_dir)
        if case.model is None or weights.info.sha256 != case.model.sha256:
            return _skipped(f"the alarm is from the model {case.model}; this machine has {weights.info.version}")
        if weights.network_input.size_px != CROP_SIZE_PX:
            return _skipped(f"stored faces have {CROP_SIZE_PX} px; the model takes {weights.network_input.size_px} px")
        details = [*_calibration(case, weights), *_rescore(bundle, case, frames, config)]
    except DetectorError as error:
        return _skipped(f"the model cannot be loaded: {error}")
    if not details and bundle.manifest.faces_blurred:
        return ReplayCheck("scores", "match", ("faces are blurred; no picture can be scored again",))
    return _check("scores", tuple(details))


def _calibration(case: IncidentCase, weights: Weights) -> list[str]:
    """Lists samples whose log-likelihood ratio does not follow from the stored logit."""
    details = []
    for sample in case.samples:
        for face in sample.faces:
            if face.llr is None or face.logit is None:
                continue
            llr = log_likelihood_ratio(face.logit, face.frequency_score, weights.calibration or UNCALIBRATED)
            if abs(llr - face.llr) > _LLR_TOLERANCE:
                details.append(f"sample {sample.sequence}, face {face.track}: stored llr {face.llr}, derived {llr}")
    return details


def _rescore(
    bundle: IncidentBundle, case: IncidentCase, frames: tuple[PicturedFrame, ...], config: DetectorConfig
) -> list[str]:
    """Scores each stored face picture again and lists differences."""
    seen = {(sample.sequence, face.track): face for sample in case.samples for face in sample.faces}
    shown = [(frame.sequence, face.track, face.crop) for frame in frames for face in frame.faces if face.crop]
    if not shown:
        return []
    scorer, details = build_scorer(config), []
    for sequence, track, name in shown:
        try:
            crop = _crop(bundle.contents.get(name, b""))
        except InvalidBundle as error:
            details.append(f"{name}: {error}")
            continue
        (score,) = scorer.score([crop])
        details.extend(_compared(name, seen.get((sequence, track)), score.logit))
    return details


def _compared(name: str, kept: FaceObservation | None, logit: float) -> list[str]:
    if kept is None or kept.logit is None:
        return [f"{name}: no sample belongs to this picture"]
    if abs(kept.logit - logit) <= LOGIT_TOLERANCE:
        return []
    return [f"{name}: stored logit {kept.logit:.4f}, scored {logit:.4f}"]


def _crop(png: bytes) -> FaceCrop:
    """Decodes a stored face crop. Raises InvalidBundle."""
    rgb = rgb_of(png)
    if rgb.shape != (CROP_SIZE_PX, CROP_SIZE_PX, 3):
        size = f"{rgb.shape[1]} x {rgb.shape[0]}"
        raise InvalidBundle(f"face crop: expected {CROP_SIZE_PX} x {CROP_SIZE_PX} pixels, got {size}")
    return FaceCrop(rgb=rgb, native_rgb=rgb, box=FaceBox(0, 0, 1, 1), face_px=1.0)
