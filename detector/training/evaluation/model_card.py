"""Model card: the contents of a manifest and the results of `deepguard evaluate`, under fixed headings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector.training.evaluation.markdown_report import tables

if TYPE_CHECKING:
    from detector.model_artifact import Manifest

_LIMITS = """## Limits

* A verdict is a hint that a face in a live call or clip may be swapped. It is never the sole ground for acting against
  a person; affected people should be able to request a review by a human. The model identifies nobody.
* Fully generated video and sound are out of scope. Expect lower detection rates than in the tables for tools outside
  the training data: every family of fakes in them comes from one tool or from this project.
* Faces below 64 px have no weight in a verdict, those below 112 px a reduced one.
* Error rates by sex and age are not measured. Where they were measured, real faces are compared by skin tone and by
  source below. Detectors of blends are known to differ between groups.
* Profile views, glasses or hands in front of the face, and background replacement are not tested.
* Small perturbations and sharpening can deceive networks of this kind. The heat map shows which areas raise the score;
  it proves nothing.
* Scores of different versions are not comparable: calibration and frequency baseline belong to this version.
* No embedding and no identity of a face is stored. Retrain the model when tools change: scores drift on unseen
  generators.
"""
_PREVALENCES = (0.1, 0.01, 0.001)


def card(manifest: Manifest, results: dict[str, Any]) -> str:
    """Returns the card as Markdown, limits first."""
    weights = f"Weights `{manifest.arrays_file}`, SHA-256 `{manifest.sha256}`."
    parts = [
        f"# Model card: {manifest.name} {manifest.version}",
        f"{weights} Written by `deepguard evaluate`; do not edit.",
        _LIMITS,
        _structure(manifest),
        _data(manifest),
        _cross_validation(manifest),
        tables(results).strip(),
        _decision(manifest),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _structure(manifest: Manifest) -> str:
    size = manifest.network_input.size_px
    return (
        f"## What it is\n\nXception, {size} x {size} px RGB crops (1.3 x the box of the face finder), features of "
        "`block14_sepconv2_act`, average pooling, one unit. Training settings from the manifest:\n\n"
        + "\n".join(f"* `{key}`: {value}" for key, value in manifest.trained.get("settings", {}).items())
        + "".join(f"\n* `{key}`: {value}" for key, value in manifest.trained.get("imported", {}).items())
    )


def _data(manifest: Manifest) -> str:
    licences = manifest.trained.get("licences")
    if not licences:
        return ""
    lines = ["## Data", "", "| licence or source | files |", "|---|---|"]
    rows = [f"| {name} | {count} |" for name, count in licences.items()]
    return "\n".join([*lines, *rows, "", "This project did not ask the people in these pictures for consent."])


def _cross_validation(manifest: Manifest) -> str:
    """Returns the cross-validation of the training run, on clips and people that the networks did not see."""
    rows = manifest.trained.get("results", {}).get("clips", [])
    if not rows:
        return ""
    folds = manifest.trained["settings"]["folds"]
    lines = [
        f"## Cross-validation over {folds} folds of groups of clips", "",
        "By networks that did not see the group, before quantization to eight bits.", "",
        "| condition | scorer | clip AUC | frame AUC | right order | rho(sharpness) |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        cells = [f"{row[key]['value']:.3f} [{row[key]['low']:.2f}, {row[key]['high']:.2f}]"
                 for key in ("clip_auc", "frame_auc", "paired")]
        lines.append(f"| {row['condition']} | {row['name']} | {' | '.join(cells)} | {row['sharpness_rho']:+.2f} |")
    return "\n".join(lines)


def _decision(manifest: Manifest) -> str:
    """Returns the evidence statistics and what they mean for verdicts."""
    stats = manifest.evidence
    if stats is None or manifest.calibration is None:
        return "## Verdicts\n\nNot calibrated: verdicts have the reason `uncalibrated` and no label."
    shares = ", ".join(
        f"{100 * stats.detectable * p / (stats.detectable * p + 0.05 * (1 - p)):.1f} if one call in {1 / p:.0f} is fake"
        for p in _PREVALENCES
    )
    within = f"standard deviation {stats.sd:.2f} nats, correlation time {stats.correlation_s:.2f} s"
    share = f"{100 * stats.detectable:.0f} % average above that ({stats.mean_fake:.2f} nats)"
    return "\n".join([
        "## Verdicts",
        "",
        f"Evidence within a stream: {within}. Real clips are assumed to average below",
        f"{stats.mean_real:.2f} nats (see `settle` in docs/training.md). Of held-out swaps {share}:",
        "only they can raise an alarm within a false-alarm budget; the others stay `UNCERTAIN`. At a false-alarm rate",
        f"of 5 %, this many of 100 alarms would be fakes: {shares}.",
        "",
        "False-alarm rates follow from a model fitted to few clips, not from a count on hours of real calls. Half of",
        f"the real clips average below {stats.real_middle:.2f} nats, nine fakes in ten above {stats.fake_low:.2f}.",
        "Where these are closer than the spread of frames, no face gets the label `REAL`.",
        *_fusion(manifest.trained.get("results", {})),
    ])


def _fusion(results: dict[str, Any]) -> list[str]:
    """Returns sentences on calibration error and frequency score, as measured by the training run."""
    if "fusion" not in results or "calibration" not in results:
        return []
    delta, held = results["fusion"]["delta_nll"], results["calibration"]
    used = "so it has a weight" if results["fusion"]["frequency_used"] else "so it has no weight in the decision"
    return [
        "",
        f"On held-out data the calibration error is {held['ece']:.3f} (ECE) and the loss {held['nats']:.3f} nats",
        f"(.693 is chance). Adding the frequency score changes the loss by {delta['value']:+.4f} nats",
        f"[{delta['low']:+.4f}, {delta['high']:+.4f}], {used}.",
    ]
