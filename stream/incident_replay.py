"""Incident replay: derives an incident's verdict again, from its samples alone. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream.config import StreamConfig
from stream.frame_sampler import phase_of
from stream.rolling_verdicts import ObservationContext, RollingVerdicts
from stream.types import FrameCounts

if TYPE_CHECKING:
    from stream.events import Verdict
    from stream.incident_case import IncidentCase

_CIRCUMSTANCES = ("frames", "age_ms")       # depend on the original run; the evidence does not determine them


def derive(case: IncidentCase) -> Verdict | None:
    """Returns the verdict derived from the samples; None if they yield none for that window."""
    origin, rules = case.origin, case.rules
    config = StreamConfig(windows=rules.windows, decision=rules.decision)
    monitor = RollingVerdicts(origin.stream, origin.epoch, phase_of(origin.stream, origin.epoch), config)
    if case.base is not None:
        monitor.restore(case.base)
    context = ObservationContext(0.0, FrameCounts(), case.model, rules.evidence)
    for sample in case.samples:
        for verdict in monitor.observe(sample, context):
            if verdict.sequence == case.verdict.sequence:
                return verdict
    for verdict in monitor.finish(context):      # an alarm may open with what is left when a stream ends
        if verdict.sequence == case.verdict.sequence:
            return verdict
    return None


def differences(case: IncidentCase) -> tuple[str, ...]:
    """Returns each value of the stored verdict that the evidence does not reproduce, as "field: kept X, derived Y"."""
    derived = derive(case)
    if derived is None:
        return (f"verdict: kept {case.verdict.id}, derived none for that window",)
    kept, again = (_plain(verdict) for verdict in (case.verdict, derived))
    return tuple(_unequal(kept, again, ""))


def _plain(verdict: Verdict) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(verdict)
    return {name: value for name, value in plain.items() if name not in _CIRCUMSTANCES}


def _unequal(kept: object, derived: object, where: str) -> list[str]:
    if isinstance(kept, dict) and isinstance(derived, dict):
        names = sorted(kept.keys() | derived.keys())
        return [w for n in names for w in _unequal(kept.get(n), derived.get(n), f"{where}.{n}" if where else n)]
    if isinstance(kept, list | tuple) and isinstance(derived, list | tuple) and len(kept) == len(derived):
        pairs = zip(kept, derived, strict=True)
        return [w for number, (k, d) in enumerate(pairs) for w in _unequal(k, d, f"{where}[{number}]")]
    return [] if kept == derived else [f"{where}: kept {kept!r}, derived {derived!r}"]
