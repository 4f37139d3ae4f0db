"""Everything that a stream can refuse or fail at.

StreamError
├── MediaRefused          what was sent is not judged; `code` says why, `status` is its HTTP class
├── DecodeFailed          media of an allowed kind that the decoder cannot read
├── StreamExists          the id is in use by a running stream
├── StreamUnknown         no running stream has this id
├── ServiceFull           no room for another stream or job; `retry_after_s` says when to try again
├── ServiceDraining       the service is shutting down
├── SubscriberTooSlow     a reader of events fell too far behind and must come back
├── BusClosed             no more events in this feed
├── ChannelBroken         a worker process sent what is not a message
└── WorkerLost            the worker process died or hung and the work could not be repeated
"""


class StreamError(Exception):
    """Base of all errors of this package."""


class MediaRefused(StreamError):
    """Input that is refused: `code` is a stable machine word, `status` one of 400, 413, 415, 422."""

    def __init__(self, code: str, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class DecodeFailed(StreamError):
    """The decoder gave up on this stream or file."""


class StreamExists(StreamError):
    """A running stream has this id."""


class StreamUnknown(StreamError):
    """No running stream has this id."""


class ServiceFull(StreamError):
    """No capacity now."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceDraining(StreamError):
    """The service takes nothing new because it is shutting down."""


class SubscriberTooSlow(StreamError):
    """This reader's queue overflowed; it may resume from its last offset."""


class BusClosed(StreamError):
    """The feed ended."""


class ChannelBroken(StreamError):
    """The other end of a worker's connection sent what is not a message; the connection cannot go on."""


class WorkerLost(StreamError):
    """The worker process that held this work is gone."""
