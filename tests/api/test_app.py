"""The application as a whole: what it serves besides its endpoints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from api.app import whip_config
from api.settings.base import Settings

if TYPE_CHECKING:
    import httpx


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_ask_no_foreign_host(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']+""", page.text) == []


def test_everything_that_the_api_page_loads_is_there(client: httpx.Client) -> None:
    linked = re.findall(r"""(?:src|href)=["'](/[^"']+)""", client.get("/docs").text)
    assert len(linked) >= 2
    assert {path: client.get(path).status_code for path in linked} == dict.fromkeys(linked, 200)


def test_a_browser_never_mixes_modules_of_two_versions(client: httpx.Client) -> None:
    module = client.get("/static/js/main.js")
    assert module.status_code == 200
    assert module.headers["cache-control"] == "no-cache"
    again = client.get("/static/js/main.js", headers={"If-None-Match": module.headers["etag"]})
    assert again.status_code == 304


def test_the_page_allows_nothing_from_elsewhere(client: httpx.Client) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(("host", "loopback", "local"), [
    ("127.0.0.1", True, True), ("localhost", True, True), ("0.0.0.0", True, False), ("192.0.2.1", False, False),
])
def test_publishers_from_elsewhere_cannot_point_checks_at_this_machine(host: str, loopback: bool, local: bool) -> None:
    config = whip_config(Settings(host=host, insecure=True))
    assert (config.loopback, config.local) == (loopback, local)
