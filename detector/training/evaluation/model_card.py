"""The model card: what a manifest knows and `deepguard evaluate` measured, in the words that every card of ours has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detector.training.evaluation.markdown_report import tables

if TYPE_CHECKING:
    from detector.model_artifact import Manifest

_LIMITS = """## Limits

* A hint, on a live call or a clip, that a face may have been swapped in. Never the sole ground for acting against a
  person; whoever is affected should be able to have a verdict looked at by a person. It does not find out who somebody
  is.
* Wholly generated video and sound are out of scope. Tools that are not in the training data should be expected to be
  found worse than the tables say: every family of fakes there comes from one tool or from this project.
* Faces below 64 px carry no weight, those below 112 px less.
* Error rates by skin tone, sex and age: unmeasured. Detectors of blends are known to differ between groups.
* Untested: profile views, glasses and hands before the face, background replacement.
* Small perturbations and sharpening can fool networks of this kind. The heat map shows where the network looked; it
  proves nothing.
* Scores of different versions are not comparable: calibration and frequency baseline belong to this one.
* Nothing of a face is kept: no embedding, no identity. Renew the model when tools change; scores drift on generators
  that were never seen.
"""
_PREVALENCES = (0.1, 0.01, 0.001)


def card(manifest: Manifest, results: dict[str, Any]) -> str:
    """Markdown; limits first."""
    weights = f"Weights `{manifest.arrays_file}`, SHA-256 `{manifest.sha256}`."
    parts = [
        f"# Model card: {manifest.name} {manifest.version}",
        f"{weights} Written by `deepguard evaluate`; nothing in it is typed by hand.",
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
        "`block14_sepconv2_act`, average pooling, one unit. Settings of its training, as they are in the manifest:\n\n"
        + "\n".join(f"* `{key}`: {value}" for key, value in manifest.trained.get("settings", {}).items())
        + "".join(f"\n* `{key}`: {value}" for key, value in manifest.trained.get("imported", {}).items())
    )


def _data(manifest: Manifest) -> str:
    licences = manifest.trained.get("licences")
    if not licences:
        return ""
    lines = ["## Data", "", "| licence or source | files |", "|---|---|"]
    rows = [f"| {name} | {count} |" for name, count in licences.items()]
    return "\n".join([*lines, *rows, "", "Nobody in these pictures was asked for this use by us."])


def _cross_validation(manifest: Manifest) -> str:
    """What its own training measured, on clips and people that were kept from the network."""
    rows = manifest.trained.get("results", {}).get("clips", [])
    if not rows:
        return ""
    folds = manifest.trained["settings"]["folds"]
    lines = [
        f"## Cross-validation over {folds} folds of groups of clips", "",
        "By networks that never saw the group, before their rounding to eight bits.", "",
        "| condition | scorer | clip AUC | frame AUC | right order | rho(sharpness) |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        cells = [f"{row[key]['value']:.3f} [{row[key]['low']:.2f}, {row[key]['high']:.2f}]"
                 for key in ("clip_auc", "frame_auc", "paired")]
        lines.append(f"| {row['condition']} | {row['name']} | {' | '.join(cells)} | {row['sharpness_rho']:+.2f} |")
    return "\n".join(lines)


def _decision(manifest: Manifest) -> str:
    """What follows for verdicts from the evidence that was measured."""
    stats = manifest.evidence
    if stats is None or manifest.calibration is None:
        return "## Verdicts\n\nNot calibrated: verdicts say `uncalibrated` and carry no label."
    shares = ", ".join(
        f"{100 * stats.detectable * p / (stats.detectable * p + 0.05 * (1 - p)):.1f} if one call in {1 / p:.0f} is fake"
        for p in _PREVALENCES
    )
    within = f"standard deviation {stats.sd:.2f} nats, correlation time {stats.correlation_s:.2f} s"
    share = f"{100 * stats.detectable:.0f} % average above that ({stats.mean_fake:.2f} nats)"
    return "\n".join([
        "## Verdicts",
        "",
        f"Evidence within a stream: {within}; real clips are taken to average below {stats.mean_real:.2f} nats",
        "(docs/training.md, `settle`, says how that was found). Of held-out",
        f"swaps {share}: only for those can an alarm come within a budget, the others stay `UNCERTAIN`. At that level,",
        f"of 100 hits so many would be fakes: {shares}.",
        "",
        "False-alarm rates are promises of a model fitted to few clips; no hours of real calls were counted. Half of",
        f"the real clips average below {stats.real_middle:.2f} nats, nine fakes in ten above {stats.fake_low:.2f};",
        "where these lie closer than frames spread, nobody is called real.",
        *_fusion(manifest.trained.get("results", {})),
    ])


def _fusion(results: dict[str, Any]) -> list[str]:
    """What calibration and frequency score are worth, by the training's own measure."""
    if "fusion" not in results or "calibration" not in results:
        return []
    delta, held = results["fusion"]["delta_nll"], results["calibration"]
    used = "and has a weight" if results["fusion"]["frequency_used"] else "so it has no weight in the decision"
    return [
        "",
        f"Held out, calibration is off by {held['ece']:.3f} (ECE) and costs {held['nats']:.3f} nats (.693 is knowing",
        f"nothing). Adding the frequency score changed that by {delta['value']:+.4f} nats [{delta['low']:+.4f},",
        f"{delta['high']:+.4f}], {used}.",
    ]
