"""What the network face refuses. `api.http.error_responses` makes JSON of it.

ApiError                  `status`, `code`, `message`, perhaps `retry_after_s`
├── Unauthorized          401: a key is needed and none of ours was sent
├── OriginRefused         403: a page of another origin, or another host name, is calling
├── NotFound              404: no such job or picture
├── UploadRefused         400, 411, 413, 415: what was sent is not one acceptable file
├── OfferRefused          400, 413, 415, 422: a WebRTC offer that is no SDP, or not one camera
├── Unprocessable         422: a file that is fine, but not for this question
├── RateLimited           429
├── Busy                  503: no room now
└── NoModel               503: nothing can be explained without a model
BenchFailed               a bench could not be carried out
PublishFailed             a file could not be published to a WHIP endpoint
LiveKitRefused            a service does not take the calls of a LiveKit room
WatchRefused              a service does not let its events be watched like this
SettingsRefused           the environment asks for something that is not possible; start-up ends with its message
"""

from __future__ import annotations

from typing import NamedTuple


class BenchFailed(Exception):
    """A process of the bench ended, or did not do its part in time."""


class Refusal(NamedTuple):
    """An endpoint's HTTP answer to an offer: how long it took, and the Retry-After that it names, if any."""

    status: int
    answered_s: float
    retry_after_s: float | None


class PublishFailed(Exception):
    """Publishing did not start or was cut off; `refusal` is what the endpoint answered, if it did."""

    def __init__(self, message: str, refusal: Refusal | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal


class LiveKitRefused(Exception):
    """The service does not take calls with this key; trying again would not help."""


class WatchRefused(Exception):
    """Asking again would not help: a wrong key, a wish that is not understood, or no DeepGuard there."""


class SettingsRefused(Exception):
    """The environment asks for something that is not possible."""


class ApiError(Exception):
    """Base of all refusals of this package."""

    status = 400

    def __init__(self, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Unauthorized(ApiError):
    """No valid key."""

    status = 401


class OriginRefused(ApiError):
    """A browser page that is not ours."""

    status = 403


class NotFound(ApiError):
    """Nothing is there."""

    status = 404


class UploadRefused(ApiError):
    """Not one acceptable file; `status` is its own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status


class OfferRefused(ApiError):
    """An offer that is not taken; `status` is its own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status


class Unprocessable(ApiError):
    """A good file for another question."""

    status = 422


class RateLimited(ApiError):
    """Too many requests of one caller."""

    status = 429


class Busy(ApiError):
    """No room now."""

    status = 503


class NoModel(ApiError):
    """There is no model to explain."""

    status = 503
