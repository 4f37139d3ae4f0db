"""The demo's options; what it does is tested with real processes in tests/e2e/test_demo.py."""

from __future__ import annotations

import pytest

from api.cli.demo import DemoOptions, _parse, _url_of
from api.settings.base import load_settings


def test_options() -> None:
    assert _parse([]) == DemoOptions(None, None, True, None)
    given = _parse(["--url", "http://h:1", "--no-browser", "--seconds", "2"])
    assert given == DemoOptions("http://h:1", None, False, 2)
    assert _parse(["--port", "8080"]).port == 8080


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(SystemExit):
        _parse(["--colour"])


@pytest.mark.parametrize(("host", "url"), [
    ("127.0.0.1", "http://127.0.0.1:5000"), ("localhost", "http://127.0.0.1:5000"), ("0.0.0.0", "http://127.0.0.1:5000"),
    ("::", "http://[::1]:5000"), ("::1", "http://[::1]:5000"), ("192.0.2.7", "http://192.0.2.7:5000"),
])
def test_the_page_is_where_a_browser_here_finds_it(host: str, url: str) -> None:
    assert _url_of(load_settings(host=host, port=5000)) == url
