"""Evaluation by swap tool: every clip is scored by a network trained without its tool and its person."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.config import DetectorConfig
from detector.factory import build_finder
from detector.training.data import datasets, sample_collection
from detector.training.data.tool_folds import family_of
from detector.training.evaluation import model_scoring, tool_metrics
from detector.training.evaluation.corruptions import Corruption, Transcoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from detector.training.config import TrainConfig
    from detector.training.evaluation.loaded_model import LoadedModel

    Rows = NDArray[Any]
    Progress = Callable[[str, float], None]

CODINGS = (Transcoding("h264", 150), Transcoding("vp8", 150))
# With fewer clips a tool may come out worst by chance.
_MIN_CLIPS = 6
ALL_TOOLS = "all left-out tools"


def measure_tools(
    model: LoadedModel, config: TrainConfig, levels: tuple[int, ...], progress: Progress
) -> dict[str, Any]:
    """Returns metrics by condition and tool; `left_out` is the reason where there are none.

    Conditions are the original footage and, with any `levels`, both codecs at 150 kb/s.
    """
    faces = collect_tool_faces(model, config, progress)
    if not any(item.family == model_scoring.TOOLS for item in faces):
        return {"left_out": "no pairs of other tools that this model never saw", "conditions": {}}
    scored = {str(Corruption()): model_scoring.score_faces(model.networks, faces, Corruption())}
    for coding in CODINGS if levels else ():
        progress(f"tools: {coding}", 0.0)
        scored[str(coding)] = model_scoring.score_recoded(model.networks, faces, coding, config.cache_dir / "recoded")
    return {"left_out": "", "conditions": {name: summary(rows) for name, rows in scored.items()}}


def collect_tool_faces(
    model: LoadedModel, config: TrainConfig, progress: Progress
) -> list[model_scoring.LabelledFace]:
    """Returns the faces of all pairs of tools, and of swapped clips, that were not trained on."""
    locator = datasets.FaceLocator(build_finder(DetectorConfig()), config.cache_dir / "faces.json")
    seen_tools = not model.unseen and bool(model.trained.get("fit", {}).get("tools"))
    clips = [] if seen_tools else [(model_scoring.TOOLS, clip) for clip in sample_collection.tool_sources(config)]
    if model.unseen:
        clips += [(model_scoring.PAIRS, clip) for clip in sample_collection.read_sources(config)[1]]
    faces = []
    for index, (family, clip) in enumerate(clips):
        progress("tools", index / len(clips))
        for halves in datasets.clip_faces(clip, locator, config.clip_frames):
            faces += [
                model_scoring.LabelledFace(face, label, family, clip)
                for label, face in enumerate(halves) if face is not None
            ]  # fmt: skip
    return faces


def summary(rows: Rows) -> dict[str, Any]:
    """Returns metrics by tool, of all left-out tools together, and the spread of real clips.

    `mean_order` and `worst_order` count every family of tools once. The worst is taken among families with at least six
    clips, where there are any. `spread` is the standard deviation between real people of their mean logit, in
    units of the mean distance between a fake and its real.
    """
    scores = tool_metrics.clip_scores(rows)
    families = np.array([family_of(str(tool)) for tool in scores.tools])
    left_out = np.isin(scores.groups, rows["group"][rows["family"] == model_scoring.TOOLS])
    by_family = {
        str(name): tool_metrics.compute_tool_metrics(str(name), scores.take(left_out & (families == name)))
        for name in np.unique(families[left_out])
    }
    many = [found for found in by_family.values() if found.clips >= _MIN_CLIPS]
    worst = min(many or by_family.values(), key=lambda found: found.order.value)
    gap = float((scores.fakes - scores.reals).mean())
    return {
        "tools": [asdict(found) for found in tool_metrics.metrics_by_tool(scores)],
        "together": asdict(tool_metrics.compute_tool_metrics(ALL_TOOLS, scores.take(left_out))),
        "mean_order": float(np.mean([found.order.value for found in by_family.values()])),
        "mean_auc": float(np.mean([found.auc.value for found in by_family.values()])),
        "worst_order": worst.order.value,
        "worst_tool": worst.tool,
        "spread": tool_metrics.spread(scores.reals, scores.groups) / gap if gap > 0 else None,
    }
