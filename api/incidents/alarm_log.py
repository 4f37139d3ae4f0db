"""Log lines and counters of alarms, in the process that detects them and whether or not the database works."""

from __future__ import annotations

import structlog

from stream.incident_case import AlarmChange, IncidentCase

log = structlog.get_logger(__name__)

# Above this number of open alarms, the oldest is forgotten; its closing is then logged without its ids.
_REMEMBERED = 4096


class AlarmLog:
    """Logs and counts alarms that open and close.

    The lines name no participant, whose id may be a person's name; the incident has it. The line of a closing lacks
    incident and call if another process logged the opening.
    """

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self._open: dict[tuple[str, int], tuple[str, str]] = {}

    def add(self, change: AlarmChange) -> None:
        """Logs one change."""
        if isinstance(change, IncidentCase):
            self._opened(change)
            return
        incident, call = self._open.pop((change.stream, change.epoch), ("", ""))
        self.closed += 1
        log.info(
            "alarm closed", stream=change.stream, incident=incident, call=call, reason=str(change.reason),
            at_s=round(change.end_s, 1),
        )

    def _opened(self, case: IncidentCase) -> None:
        origin = case.origin
        self.opened += 1
        self._open[origin.stream, origin.epoch] = (case.id, origin.call_id)
        worst = next((face for face in case.verdict.faces if face.alarm), None)
        if len(self._open) > _REMEMBERED:
            del self._open[next(iter(self._open))]
        log.warning(
            "alarm opened", stream=origin.stream, incident=case.id, call=origin.call_id, source=origin.source,
            sample=origin.sample, prob_fake=worst.prob_fake if worst is not None else None,
            at_s=round(case.verdict.end_s, 1),
        )
