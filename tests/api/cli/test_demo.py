"""The options of the demo; tests/e2e/test_demo.py tests it with real processes."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from api.cli.demo import _url_of
from api.cli.main import app
from api.settings.base import load_settings


@pytest.mark.parametrize("arguments", [["--colour"], ["--port", "many"], ["--seconds", "soon"], ["--url"]])
def test_an_unknown_option_or_value_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["demo", *arguments]).exit_code == 2


@pytest.mark.parametrize(("host", "url"), [
    ("127.0.0.1", "http://127.0.0.1:5000"), ("localhost", "http://127.0.0.1:5000"), ("0.0.0.0", "http://127.0.0.1:5000"),
    ("::", "http://[::1]:5000"), ("::1", "http://[::1]:5000"), ("192.0.2.7", "http://192.0.2.7:5000"),
])
def test_the_page_is_where_a_browser_here_finds_it(host: str, url: str) -> None:
    assert _url_of(load_settings(host=host, port=5000)) == url
