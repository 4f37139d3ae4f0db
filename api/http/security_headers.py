"""Security headers of every HTTP answer. A route may set its own value of each."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Data for programs: nothing in it may load or run, whatever a browser takes it for.
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Swagger's page starts itself by an inline script, and draws inline styles and pictures.
_DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DOCS_PATHS = ("/docs", "/redoc")


def headers_for(path: str) -> Mapping[str, str]:
    """Returns the default headers of an answer at this path."""
    policy = _DOCS_POLICY if path.startswith(_DOCS_PATHS) else _DATA_POLICY
    return {**_COMMON, "Content-Security-Policy": policy}


def add_security_headers(headers: MutableHeaders, path: str) -> None:
    """Adds the default headers that an answer lacks, in place."""
    for name, value in headers_for(path).items():
        headers.setdefault(name, value)
