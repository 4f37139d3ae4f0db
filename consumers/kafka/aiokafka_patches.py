"""aiokafka patches for unreadable batches and refused OAuth tokens. Importing this module applies them.

Unpatched, aiokafka raises at an unreadable batch while it collects records of several partitions. It then loses records
of other partitions, whose positions have moved, and fetches the faulty partition again forever. The patch returns one
`UnreadableBatch` and continues after it.

Unpatched, aiokafka takes a refused OAuth token for accepted: the broker reports the refusal as a challenge (RFC 7628,
section 3.2.3), which aiokafka does not read. The patch answers it, and the broker then fails the login.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka import conn
from aiokafka.consumer import fetcher
from aiokafka.structs import ConsumerRecord

from consumers.broker import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

# A batch whose header is damaged may claim any length.
MAX_BATCH_RECORDS = 1_000_000

_OAUTH_ACKNOWLEDGED = b"\x01"

AiokafkaRecords: Any = fetcher.PartitionRecords
AiokafkaOauthLogin: Any = conn.OAuthAuthenticator


class UnreadableBatch(ConsumerRecord):  # type: ignore[misc]
    """Represents all records of an unreadable batch; without key, value and headers."""

    unreadable: Unreadable


class TolerantRecords(AiokafkaRecords):  # type: ignore[misc]
    """Records of one fetched partition, including those of uncommitted transactions, as in all readers here."""

    def _unpack_records(self) -> Iterator[ConsumerRecord[Any, Any]]:
        while self._records.has_next():
            batch = self._records.next_batch()
            try:
                records = self._records_of(batch)
            except Exception as error:      # noqa: BLE001 - decompressors and parsers raise errors of many kinds
                yield self._unreadable(batch, error)
                continue
            for record in records:
                self.next_fetch_offset = record.offset + 1
                yield record
            self.next_fetch_offset = batch.next_offset

    def _records_of(self, batch: Any) -> list[ConsumerRecord[Any, Any]]:
        """Returns the unread records of a batch; none for a control batch."""
        if self._check_crcs and not batch.validate_crc():
            raise ValueError("wrong checksum")
        if batch.is_control_batch:
            return []
        start = self.next_fetch_offset
        return [self._consumer_record(self._tp, record) for record in batch if record.offset >= start]

    def _unreadable(self, batch: Any, error: Exception) -> UnreadableBatch:
        first = self.next_fetch_offset
        end = batch.next_offset
        if not first < end <= first + MAX_BATCH_RECORDS:
            end = first + 1
        self.next_fetch_offset = end
        tp = self._tp
        found = UnreadableBatch(tp.topic, tp.partition, first, -1, 0, None, None, None, -1, -1, ())
        object.__setattr__(found, "unreadable", Unreadable(end - 1, f"{type(error).__name__}: {error}"))
        return found


fetcher.PartitionRecords = TolerantRecords


class CompleteOauthLogin(AiokafkaOauthLogin):  # type: ignore[misc]
    """Login by an OAuth token that also takes the broker's refusal."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Returns the next message to the broker and whether it answers; None at the end of the login."""
        if self._token_sent and payload:
            return _OAUTH_ACKNOWLEDGED, True
        message: tuple[bytes, bool] | None = await super().step(payload)
        return message


conn.OAuthAuthenticator = CompleteOauthLogin
