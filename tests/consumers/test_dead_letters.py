"""Dead letters: content, headers and the limit against broken producers."""

from __future__ import annotations

from consumers.broker import PartitionId, Record
from consumers.dead_letters import MAX_VALUE_BYTES, Cause, DeadLetterLimit, dead_letter

PLACE = PartitionId("media", 3)
CAUSE = Cause("contract", "wrong_key", "m" * 1000, attempts=2)


def letter(record: Record) -> dict[str, bytes | None]:
    message = dead_letter("media.dlq", "group", record, CAUSE)
    assert message.topic == "media.dlq"
    assert (message.key, message.partition) == (record.key, None)
    return dict(message.headers) | {"": message.value}


def test_a_dead_letter_has_the_headers_and_the_cause() -> None:
    found = letter(Record(PLACE, 7, 1234, b"k", b"v", (("ce_id", b"a/1/2"), ("odd", None), ("dlq.offset", b"lie"))))
    assert found == {
        "ce_id": b"a/1/2", "odd": None, "": b"v", "dlq.topic": b"media", "dlq.partition": b"3", "dlq.offset": b"7",
        "dlq.timestamp": b"1234", "dlq.group": b"group", "dlq.stage": b"contract", "dlq.error": b"wrong_key",
        "dlq.message": b"m" * 256, "dlq.attempts": b"2",
    }


def test_a_huge_value_is_left_out() -> None:
    found = letter(Record(PLACE, 7, 1234, b"k", bytes(MAX_VALUE_BYTES + 1), ()))
    assert found[""] is None
    assert found["dlq.value_bytes"] == b"%d" % (MAX_VALUE_BYTES + 1)


def test_a_record_without_key_and_value_can_be_a_dead_letter() -> None:
    assert letter(Record(PLACE, 7, 1234, None, None, ()))[""] == b""


def test_a_flood_is_limited_to_its_share_and_counted() -> None:
    limit = DeadLetterLimit(share=0.1, always=5, window=100)
    assert sum(limit.allows() for _ in range(50)) == 5
    assert limit.discarded == 45
    for _ in range(100):
        limit.add_good()
    assert limit.allows(), "what was bad is long past"


def test_rare_bad_records_are_always_written() -> None:
    limit = DeadLetterLimit(share=0.1, always=5, window=100)
    for _ in range(50):
        for _ in range(19):
            limit.add_good()
        assert limit.allows()
    assert limit.discarded == 0
