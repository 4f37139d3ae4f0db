"""Exceptions of the stream package.

StreamError
├── MediaRefused          the input is refused; `code` says why, `status` is its HTTP status
├── DecodeFailed          media of an allowed kind that the decoder cannot read
├── StreamExists          the id is in use by a running stream
├── StreamUnknown         no running stream has this id
├── ServiceFull           no room for another stream or job; `retry_after_s` says when to try again
├── ServiceDraining       the service is shutting down
├── SubscriberTooSlow     an event subscriber fell too far behind and has to resubscribe
├── BusClosed             no more events in this feed
├── ChannelBroken         a worker process sent bytes that are no valid message
└── WorkerLost            the worker process died or hung and the work could not be repeated
"""


class StreamError(Exception):
    """Base class of this package's exceptions."""


class MediaRefused(StreamError):
    """The input is refused. `code` is a stable machine-readable word; `status` is 400, 413, 415 or 422."""

    def __init__(self, code: str, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class DecodeFailed(StreamError):
    """The decoder cannot continue with this stream or file."""


class StreamExists(StreamError):
    """A running stream has this id."""


class StreamUnknown(StreamError):
    """No running stream has this id."""


class ServiceFull(StreamError):
    """No capacity for another stream or job now; `retry_after_s` says when to retry."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceDraining(StreamError):
    """The service is shutting down and accepts no new work."""


class SubscriberTooSlow(StreamError):
    """The subscriber's queue overflowed. It may resume from its last offset."""


class BusClosed(StreamError):
    """The event feed has ended."""


class ChannelBroken(StreamError):
    """The other end of a worker connection sent bytes that are no valid message. The connection cannot continue."""


class WorkerLost(StreamError):
    """The worker process that held this work has died or hung."""
