"""Errors of pulled sources. `docs/contracts/rest.md` lists the codes."""

from __future__ import annotations


class PullFailed(Exception):
    """One attempt failed. `code` is stable; `message` is for display and holds no login.

    `is_final`: another attempt would fail in the same way.
    """

    def __init__(self, code: str, message: str, is_final: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_final = is_final


class PullRefused(PullFailed):
    """The policy forbids the address."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message, is_final=True)


def bad_redirect() -> PullRefused:
    return PullRefused("bad_url", "the source redirects to a malformed URL, or to none")


def failed_status(status: int) -> PullFailed:
    """Translates an HTTP or RTSP status other than success."""
    if status in (401, 403, 407):
        return PullFailed("unauthorized", f"the source answers {status}: the login or token is missing or wrong", True)
    if status in (404, 410):
        return PullFailed("not_found", f"the source answers {status}: the stream does not exist or has not begun")
    if status >= 500 or status in (408, 425, 429):
        return PullFailed("server_failed", f"the source answers {status}")
    if status >= 400:
        return PullFailed("refused", f"the source answers {status}", True)
    return PullFailed("protocol_error", f"the source answers with the unexpected status {status}")
