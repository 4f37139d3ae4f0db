"""Translates aiokafka's errors to `consumers.errors`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiokafka import errors as kafka

from consumers.errors import BrokerRefused, BrokerUnreachable, GenerationLost, RecordTooLarge, TopicMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFUSALS = (
    kafka.AuthenticationFailedError, kafka.AuthenticationMethodNotSupported, kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError, kafka.TopicAuthorizationFailedError, kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError, kafka.InvalidTopicError, kafka.InvalidSessionTimeoutError,
)


@contextmanager
def translated(topics: str = "") -> Iterator[None]:
    """Raises aiokafka's errors of the block as `consumers.errors`; `topics` names them in TopicMissing."""
    try:
        yield
    except (kafka.CommitFailedError, kafka.IllegalStateError) as error:
        raise GenerationLost(str(error)) from error
    except kafka.MessageSizeTooLargeError as error:
        raise RecordTooLarge(str(error)) from error
    except kafka.UnknownTopicOrPartitionError as error:
        raise TopicMissing(f"there is no topic {topics}".strip()) from error
    except _REFUSALS as error:
        raise BrokerRefused(str(error)) from error
    except kafka.KafkaConnectionError as error:     # aiokafka only logs the reason
        raise BrokerUnreachable(f"{error}: no answer, or the broker refuses the login or the certificate") from error
    except (kafka.KafkaError, OSError) as error:    # TimeoutError is an OSError
        raise BrokerUnreachable(f"{type(error).__name__}: {error}") from error
