from __future__ import annotations

from typing import TYPE_CHECKING

from api.incidents.alarm_log import AlarmLog
from tests.stream.cases import opened_case, over

if TYPE_CHECKING:
    from structlog.types import EventDict


def test_an_alarm_is_two_log_lines_and_two_counts(logged: list[EventDict]) -> None:
    alarms, case = AlarmLog(), opened_case("call")
    alarms.add(case)
    alarms.add(over(case))
    assert (alarms.opened, alarms.closed) == (1, 1)
    assert [(line["event"], line["level"], line["incident"], line["stream"]) for line in logged] == [
        ("alarm opened", "warning", case.id, "call"), ("alarm closed", "info", case.id, "call"),
    ]  # fmt: skip
    assert {line["call"] for line in logged} == {"a-call"}
    assert case.origin.participant_id == "somebody"
    assert "somebody" not in str(logged)
    assert [line["at_s"] for line in logged] == [round(case.verdict.end_s, 1), round(over(case).end_s, 1)]
    assert logged[0]["prob_fake"] > 0.5


def test_the_end_of_an_alarm_that_another_process_opened_is_logged(logged: list[EventDict]) -> None:
    alarms = AlarmLog()
    alarms.add(over(opened_case("call")))
    assert (alarms.closed, logged[0]["incident"]) == (1, "")
