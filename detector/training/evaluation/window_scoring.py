"""Window evaluation: clips sampled as in a call, under every condition, with verdicts by the rules of the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.config import DetectorConfig
from detector.face_crop import crop_face, size_weight
from detector.factory import build_finder
from detector.frequency import frequency_features, frequency_score
from detector.fusion import log_likelihood_ratio
from detector.training.data import datasets, sample_collection
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

_NO_EVIDENCE_MODEL = (
    "the model has no calibration or no evidence statistics, so every live call is `UNCERTAIN`"
)
_NOT_REQUESTED = "windows were not requested"
_NO_FOOTAGE = "there is no footage with faces that the model has not seen"


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Verdict rules by name, for example "live calls", and the sample rate in Hz."""

    rules: Mapping[str, window_verdicts.Rule]
    rate_hz: float = 2.0


class TrackScorer(NamedTuple):
    """One network with calibration and frequency model, which scores as the service does."""

    network: EvidenceNetwork
    calibration: Calibration
    frequency: FrequencyModel | None

    def track(self, sampled: sampled_clips.SampledClip, label: int) -> window_verdicts.EvidenceTrack:
        """Returns the LLRs and weights of one half of a clip, as the service accumulates them."""
        crops = [crop_face(frame.halves[label], frame.face) for frame in sampled.frames]
        face_px = np.array([crop.face_px for crop in crops], np.float64)
        return window_verdicts.EvidenceTrack(
            times_s=np.array([frame.time_s for frame in sampled.frames], np.float64),
            llr=self._llr(crops),
            weights=np.array([size_weight(size) for size in face_px], np.float64),
            face_px=face_px,
            length_s=sampled.length_s,
        )

    def _llr(self, crops: Sequence[FaceCrop]) -> NDArray[np.float64]:
        logits = self.network.logits(crops)
        spectra = [self._spectrum(crop) for crop in crops]
        scores = zip(logits, spectra, strict=True)
        return np.array([log_likelihood_ratio(float(logit), share, self.calibration) for logit, share in scores])

    def _spectrum(self, crop: FaceCrop) -> float | None:
        if not self.calibration.frequency_weight or self.frequency is None:
            return None
        return frequency_score(frequency_features(crop.native_rgb, crop.face_px), self.frequency)


def measure_windows(
    model: LoadedModel, config: TrainConfig, levels: tuple[int, ...], plan: WindowPlan | None, progress: Progress
) -> dict[str, Any]:
    """Returns tables by condition and size for each rule, or `left_out` with the reason. Blocks for minutes.

    `most_nats` is the largest LLR that the calibration allows; `of_most` is the verdict on a window of that LLR.
    """
    if plan is None or model.calibration is None:
        known = model.calibration is not None and model.evidence is not None
        return {"left_out": _NOT_REQUESTED if known else _NO_EVIDENCE_MODEL}
    found = score_tracks(model, model.calibration, config, progress, levels=levels, rate_hz=plan.rate_hz)
    if not found:
        return {"left_out": _NO_FOOTAGE}
    verdicts = [row for source, track in found for row in window_verdicts.judge_windows(track, source, plan.rules)]
    most = model.calibration.gain * model.calibration.limit
    return {
        "window_s": window_verdicts.WINDOW_S,
        "rate_hz": plan.rate_hz,
        "longest_s": sampled_clips.LONGEST_S,
        "most_nats": most,
        "rules": {
            name: {
                "of_most": window_verdicts.apply_rule(rule, window_verdicts.constant_track(most, plan.rate_hz)),
                **_tables([row for row in verdicts if row.rule == name]),
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
    """Scores every face under every condition and size; `levels` are those of the corruptions.

    Works network by network, so that each is compiled once. Blocks for minutes.
    """
    _, pairs, calls = sample_collection.read_sources(config)
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


def _tables(verdicts: Sequence[window_verdicts.WindowVerdict]) -> dict[str, Any]:
    resized = {condition.name for condition in sampled_clips.size_conditions()}
    return {
        "conditions": window_verdicts.by_condition(row for row in verdicts if row.source.condition not in resized),
        "sizes": window_verdicts.by_size(
            row for row in verdicts if row.source.condition in {str(Corruption()), *resized}
        ),
    }


class _Reader(NamedTuple):
    """Reads clips under all conditions, for any scorer."""

    locator: datasets.FaceLocator
    rate_hz: float
    conditions: tuple[sampled_clips.FootageCondition, ...]

    def tracks(
        self, clip: datasets.Clip, scorer: TrackScorer
    ) -> Iterator[tuple[window_verdicts.TrackSource, window_verdicts.EvidenceTrack]]:
        original = sampled_clips.sample_clip(clip, self.locator, self.rate_hz)
        for condition in self.conditions if original.frames else ():
            sampled = condition.apply(original)
            if sampled is None:
                continue
            for label in range(2 if clip.paired else 1):
                yield (
                    window_verdicts.TrackSource(label, clip.group, str(clip.path), condition.name),
                    scorer.track(sampled, label),
                )
