"""Footage sampled like a call, under every condition, judged in windows by networks that never saw its group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.config import DetectorConfig
from detector.factory import build_finder
from detector.frequency import frequency_features, frequency_score
from detector.fusion import log_likelihood_ratio
from detector.preprocess import crop_face, size_weight
from detector.training.data import collection, datasets
from detector.training.evaluation import sampled_clips, window_verdicts
from detector.training.evaluation.corruptions import Corruption
from detector.training.evaluation.model_scoring import EvidenceNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from detector.frequency import FrequencyModel
    from detector.fusion import Calibration
    from detector.training.config import TrainConfig
    from detector.training.evaluation.loaded_model import LoadedModel
    from detector.types import FaceCrop

    Progress = Callable[[str, float], None]

_UNJUDGED = (
    "the model has no calibration, or no statistics of how its evidence behaves in real streams; a live call is "
    "`UNCERTAIN` throughout"
)
_UNASKED = "none were asked for"
_NO_FOOTAGE = "there is no footage of faces that was kept from the model"


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """`rules`, by what they are the rule of, judge one face's samples, which come at `rate_hz`."""

    rules: Mapping[str, window_verdicts.Rule]
    rate_hz: float = 2.0


class TrackScorer(NamedTuple):
    """One network with what turns its logits into evidence, as the service does it."""

    network: EvidenceNetwork
    calibration: Calibration
    frequency: FrequencyModel | None

    def track(self, shown: sampled_clips.SampledClip, label: int) -> window_verdicts.EvidenceTrack:
        """What the service would add up of one half of a clip."""
        crops = [crop_face(shot.halves[label], shot.face) for shot in shown.shots]
        face_px = np.array([crop.face_px for crop in crops], np.float64)
        return window_verdicts.EvidenceTrack(
            times_s=np.array([shot.time_s for shot in shown.shots], np.float64),
            llr=self._llr(crops),
            weights=np.array([size_weight(size) for size in face_px], np.float64),
            face_px=face_px,
            length_s=shown.length_s,
        )

    def _llr(self, crops: Sequence[FaceCrop]) -> NDArray[np.float64]:
        logits = self.network.logits(crops)
        spectra = [self._spectrum(crop) for crop in crops]
        told = zip(logits, spectra, strict=True)
        return np.array([log_likelihood_ratio(float(logit), share, self.calibration) for logit, share in told])

    def _spectrum(self, crop: FaceCrop) -> float | None:
        if not self.calibration.frequency_weight or self.frequency is None:
            return None
        return frequency_score(frequency_features(crop.native_rgb, crop.face_px), self.frequency)


def measure_windows(
    model: LoadedModel, config: TrainConfig, levels: tuple[int, ...], plan: WindowPlan | None, progress: Progress
) -> dict[str, Any]:
    """Per rule, tables by condition and by size; or `left_out`: why there are none. Blocks for minutes.

    `most_nats` is the highest LLR that the calibration lets a frame have, `of_most` what a rule says of a window of it.
    """
    if plan is None or model.calibration is None:
        known = model.calibration is not None and model.evidence is not None
        return {"left_out": _UNASKED if known else _UNJUDGED}
    found = score_tracks(model, model.calibration, config, progress, levels=levels, rate_hz=plan.rate_hz)
    if not found:
        return {"left_out": _NO_FOOTAGE}
    judged = [row for source, track in found for row in window_verdicts.judge_windows(track, source, plan.rules)]
    most = model.calibration.gain * model.calibration.limit
    return {
        "window_s": window_verdicts.WINDOW_S,
        "rate_hz": plan.rate_hz,
        "longest_s": sampled_clips.LONGEST_S,
        "most_nats": most,
        "rules": {
            name: {
                "of_most": window_verdicts.apply_rule(rule, window_verdicts.constant_track(most, plan.rate_hz)),
                **_tables([row for row in judged if row.rule == name]),
            }
            for name, rule in plan.rules.items()
        },
    }


def score_tracks(
    model: LoadedModel,
    calibration: Calibration,
    config: TrainConfig,
    progress: Progress,
    *,
    levels: tuple[int, ...],
    rate_hz: float,
) -> list[tuple[window_verdicts.TrackSource, window_verdicts.EvidenceTrack]]:
    """Every face under every condition and size, sampled as in a call; `levels` are those of the corruptions.

    Network by network, so that each is compiled once. Blocks for minutes.
    """
    _, pairs, calls = collection.read_sources(config)
    clips = [*(pairs if model.unseen else ()), *calls]
    names = sampled_clips.corruption_conditions(levels, config.cache_dir / "recoded")
    locator = datasets.FaceLocator(build_finder(DetectorConfig()), config.cache_dir / "faces.json")
    reader, found = _Reader(locator, rate_hz, (*names, *sampled_clips.size_conditions())), []
    parts = list(model.networks.by_network(np.array([clip.group for clip in clips], str)))
    for number, (arrays, places) in enumerate(parts, 1):
        scorer = TrackScorer(EvidenceNetwork(arrays, model.networks.network_input), calibration, model.frequency)
        for done, place in enumerate(places):
            progress(f"windows: network {number} of {len(parts)}", done / len(places))
            found += list(reader.tracks(clips[place], scorer))
    return found


def _tables(judged: Sequence[window_verdicts.WindowVerdict]) -> dict[str, Any]:
    resized = {condition.name for condition in sampled_clips.size_conditions()}
    return {
        "conditions": window_verdicts.by_condition(row for row in judged if row.source.condition not in resized),
        "sizes": window_verdicts.by_size(
            row for row in judged if row.source.condition in {str(Corruption()), *resized}
        ),
    }


class _Reader(NamedTuple):
    """How clips are read, whoever scores them."""

    locator: datasets.FaceLocator
    rate_hz: float
    conditions: tuple[sampled_clips.FootageCondition, ...]

    def tracks(
        self, clip: datasets.Clip, scorer: TrackScorer
    ) -> Iterator[tuple[window_verdicts.TrackSource, window_verdicts.EvidenceTrack]]:
        came = sampled_clips.sample_clip(clip, self.locator, self.rate_hz)
        for condition in self.conditions if came.shots else ():
            shown = condition.apply(came)
            if shown is None:
                continue
            for label in range(2 if clip.paired else 1):
                yield (
                    window_verdicts.TrackSource(label, clip.group, str(clip.path), condition.name),
                    scorer.track(shown, label),
                )
