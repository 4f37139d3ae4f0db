"""Face verdicts: combines the observations of a window into one verdict per face."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec

from stream.events import FaceVerdict, Label, Reason
from stream.sprt import combine, decide, posterior

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream.config import DecisionConfig
    from stream.types import FaceObservation

_UNSCORED = {"no_model": Reason.NO_MODEL, "scorer_failed": Reason.SCORER_FAILED}


def unscored_reason(unscored: str) -> Reason:
    """Returns the reason for an observation's `unscored` word."""
    return _UNSCORED.get(unscored, Reason.SCORER_FAILED)


def judge_faces(
    frames: Iterable[tuple[Sequence[FaceObservation], str]], config: DecisionConfig, min_samples: int
) -> tuple[FaceVerdict, ...]:
    """Returns one verdict per track, most suspicious first.

    `frames` holds, per sampled instant in order, the faces and the `unscored` reason.
    """
    seen: dict[int, list[FaceObservation]] = defaultdict(list)
    why: dict[int, str] = {}
    for faces, unscored in frames:
        for face in faces:
            seen[face.track].append(face)
            why[face.track] = unscored
    verdicts = (_judge(track, faces, why[track], config, min_samples) for track, faces in seen.items())
    return tuple(sorted(verdicts, key=_suspicion, reverse=True))


def withheld(faces: tuple[FaceVerdict, ...]) -> tuple[FaceVerdict, ...]:
    """Returns the faces labelled UNCERTAIN: scores of an uncalibrated model support no other label."""
    unsaid = {"label": Label.UNCERTAIN, "reason": Reason.UNCALIBRATED}
    return tuple(face if face.llr is None else msgspec.structs.replace(face, **unsaid) for face in faces)


def _suspicion(face: FaceVerdict) -> tuple[bool, float, int]:
    return face.llr is not None, face.llr or 0.0, -face.track


def _judge(
    track: int, faces: Sequence[FaceObservation], unscored: str, config: DecisionConfig, min_samples: int
) -> FaceVerdict:
    scored = [face for face in faces if face.llr is not None]
    evidence = combine([f.llr or 0.0 for f in scored], [f.quality.weight for f in scored], config.correlation)
    label, reason = decide(evidence, config, min_samples)
    if not scored:
        reason = unscored_reason(unscored)
    spectra = [face.frequency_score for face in scored if face.frequency_score is not None]
    return FaceVerdict(
        track=track,
        box=faces[-1].box,
        label=label,
        reason=reason,
        samples=evidence.usable,
        prob_fake=None if evidence.llr is None else posterior(evidence.llr, config),
        llr=evidence.llr,
        frequency_score=fmean(spectra) if spectra else None,
        quality=faces[-1].quality,
    )

