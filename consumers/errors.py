"""Everything that moving media and verdicts through a broker can refuse or fail at.

ConsumerError
├── ContractBroken        a record that the media contract does not allow; `code` says why
├── BrokerUnreachable     no broker answers now; worth trying again
├── BrokerRefused         the broker, or what we were told of it, does not allow this; a person has to change something
│   └── TopicMissing      the topic, or that partition of it, does not exist
├── GenerationLost        the group was rebalanced since the records were taken; their offsets must not be committed
├── RecordTooLarge        the broker does not take a record of this size
├── ReferenceUnavailable  what a record refers to cannot be fetched now; worth trying again
├── RoomRefused           a LiveKit server does not let us into the room; a person has to change something
└── SourceUnreadable      what is to be published cannot be read
"""


class ConsumerError(Exception):
    """Base of all errors of this package."""


class ContractBroken(ConsumerError):
    """A record that cannot be judged, ever: `code` is a stable machine word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BrokerUnreachable(ConsumerError):
    """No broker answers now."""


class BrokerRefused(ConsumerError):
    """Trying again does not help: wrong credentials, no rights, wrong certificates."""


class TopicMissing(BrokerRefused):
    """The topic, or that partition of it, does not exist."""


class GenerationLost(ConsumerError):
    """The group was rebalanced since the records were taken."""


class RecordTooLarge(ConsumerError):
    """The broker refuses a record of this size."""


class ReferenceUnavailable(ConsumerError):
    """The store that a record refers to does not answer as it should; it may later."""


class SourceUnreadable(ConsumerError):
    """The file or live source that is to be published cannot be read, or not in this form."""


class RoomRefused(ConsumerError):
    """Trying again does not help: a wrong key or secret, or a room that may not be made."""
