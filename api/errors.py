"""Errors of the api package. `api.http.error_responses` maps ApiError to a JSON response.

ApiError                  `status`, `code`, `message`, optional `retry_after_s`
├── Unauthorized          401: a valid API key is required
├── OriginRefused         403: a browser page of another origin, or a foreign host name
├── NotFound              404: no such job, incident or picture
├── UploadRefused         400, 413, 415: the body is not one supported file
├── OfferRefused          400, 413, 415, 422: a WebRTC offer that is malformed or unsupported
├── Unprocessable         422: a valid request that cannot be answered
├── EvidenceLocked        409: evidence cannot be decrypted
├── OnHold                409: a legal hold forbids the deletion
├── RateLimited           429: too many requests from one caller
├── Busy                  503: a limit is reached; try again
├── NoModel               503: no model is loaded
└── StorageUnavailable    503: the database of incidents is locked, full, read-only, slow or away
BenchFailed               a benchmark did not run to its end
PublishFailed             a file could not be published to a WHIP endpoint
LiveKitRefused            the service refuses the calls of a LiveKit room
WatchRefused              the service refuses this subscription to events
InvalidBundle             a file is not a readable incident export
SettingsRefused           a setting is invalid; start-up ends with the message
"""

from __future__ import annotations

from typing import NamedTuple


class BenchFailed(Exception):
    """A benchmark process ended early or missed its deadline."""


class Refusal(NamedTuple):
    """An endpoint's HTTP error response to an offer, the seconds it took, and its Retry-After, if any."""

    status: int
    answered_s: float
    retry_after_s: float | None


class PublishFailed(Exception):
    """Publishing failed to start or was cut off. `refusal` is the endpoint's error response, if there is one."""

    def __init__(self, message: str, refusal: Refusal | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal


class LiveKitRefused(Exception):
    """The service refuses calls with this key. Permanent: a retry fails again."""


class WatchRefused(Exception):
    """The service refuses the subscription. Permanent: a wrong key, an invalid request, or no DeepGuard at this URL."""


class InvalidBundle(Exception):
    """The file is not a readable incident export. The message names the invalid part."""


class SettingsRefused(Exception):
    """A setting is invalid. The message names the variable and what it accepts."""


class ApiError(Exception):
    """Base of the errors that become an HTTP error response."""

    status = 400

    def __init__(self, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Unauthorized(ApiError):
    """The request has no valid API key."""

    status = 401


class OriginRefused(ApiError):
    """The request comes from a page of another origin or names a foreign host."""

    status = 403


class NotFound(ApiError):
    """The resource does not exist."""

    status = 404


class UploadRefused(ApiError):
    """The upload is not one supported file. Each instance has its own `status`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status


class OfferRefused(ApiError):
    """The offer is refused. Each instance has its own `status`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status


class Unprocessable(ApiError):
    """The request is well-formed but cannot be answered."""

    status = 422


class EvidenceLocked(ApiError):
    """Evidence cannot be decrypted."""

    status = 409

    def __init__(self, why: str) -> None:
        super().__init__("evidence_locked", f"the evidence cannot be decrypted: {why}")


class OnHold(ApiError):
    """A legal hold forbids the deletion of an incident."""

    status = 409

    def __init__(self) -> None:
        super().__init__("on_hold", "the incident is under a legal hold; release it before you delete it")


class RateLimited(ApiError):
    """One caller sent too many requests."""

    status = 429


class Busy(ApiError):
    """A capacity limit is reached."""

    status = 503


class NoModel(ApiError):
    """No model is loaded."""

    status = 503


class StorageUnavailable(ApiError):
    """The database cannot be used now. The message is for clients; `cause` is the driver's error class, for logs."""

    status = 503

    def __init__(self, cause: str) -> None:
        super().__init__("storage_unavailable", "the database of incidents cannot be used now; try again", 5)
        self.cause = cause
