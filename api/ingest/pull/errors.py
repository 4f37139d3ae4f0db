"""Why a source cannot be had. `docs/contracts/rest.md` tells the codes."""

from __future__ import annotations


class PullFailed(Exception):
    """One attempt failed: `code` is a stable machine word, `message` is for people and never has a login in it.
    `is_final` says that trying again would not help."""

    def __init__(self, code: str, message: str, is_final: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_final = is_final


class PullRefused(PullFailed):
    """The address is not one that may be fetched."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message, is_final=True)


def failed_status(status: int) -> PullFailed:
    """What a status of HTTP or RTSP that is no success means."""
    if status in (401, 403, 407):
        return PullFailed("unauthorized", f"the source answers {status}: another login or token is needed", True)
    if status in (404, 410):
        return PullFailed("not_found", f"the source answers {status}: there is nothing there, or not yet")
    if status >= 500 or status in (408, 425, 429):
        return PullFailed("server_failed", f"the source answers {status}")
    if status >= 400:
        return PullFailed("refused", f"the source answers {status}", True)
    return PullFailed("protocol_error", f"the source answers {status}, which is not understood")
