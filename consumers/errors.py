"""Error tree of the consumers package.

ConsumerError
├── ContractBroken        a record breaks the media contract; `code` says how
├── BrokerUnreachable     no broker answers; retry later
├── BrokerRefused         the broker or its configuration rejects the request; an operator must act
│   └── TopicMissing      the topic or partition does not exist
├── GenerationLost        a rebalance came after the records were taken; their offsets must not be committed
├── RecordTooLarge        the record is larger than the broker allows
├── ReferenceUnavailable  a claim check cannot be fetched; retry later
├── RoomRefused           a LiveKit server rejects the login or the room; an operator must act
└── SourceUnreadable      the source to publish cannot be read
"""


class ConsumerError(Exception):
    """Base of all errors of this package."""


class ContractBroken(ConsumerError):
    """A record that can never be processed. `code` is a stable, machine-readable word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BrokerUnreachable(ConsumerError):
    """No broker answers."""


class BrokerRefused(ConsumerError):
    """A permanent refusal: wrong credentials, missing rights or wrong certificates."""


class TopicMissing(BrokerRefused):
    """The topic or partition does not exist."""


class GenerationLost(ConsumerError):
    """The consumer group was rebalanced after the records were taken."""


class RecordTooLarge(ConsumerError):
    """The record is larger than the broker allows."""


class ReferenceUnavailable(ConsumerError):
    """The store of a claim check fails temporarily."""


class SourceUnreadable(ConsumerError):
    """The file or live source to publish cannot be read, or not in this record form."""


class RoomRefused(ConsumerError):
    """A permanent refusal: a wrong key or secret, or a room that may not be created."""
