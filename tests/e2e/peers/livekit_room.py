"""A real LiveKit server on loopback, as `make livekit` builds it."""

from __future__ import annotations

import datetime
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import jwt
import pytest

from tests.e2e.browser_support import ROOT, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API_KEY, API_SECRET = "test-key", "a-secret-of-the-tests-0123456789-abcdef"
START_S = 60.0
CONFIG = """
port: {http}
bind_addresses: ["127.0.0.1"]
rtc:
  udp_port: {udp}
  tcp_port: 0
  node_ip: 127.0.0.1
  enable_loopback_candidate: true
  interfaces: {{ includes: [lo] }}
keys: {{ {key}: {secret} }}
logging: {{ level: warn }}
"""


@contextmanager
def running_livekit(folder: Path) -> Iterator[str]:
    """The server's address. Fails the test if it was not built, or does not start."""
    servers = sorted((ROOT / "build" / "livekit").glob("livekit-server-*"))
    if not servers:
        pytest.fail("these tests need LiveKit's server: make livekit")
    http = free_port()
    (folder / "livekit.yaml").write_text(CONFIG.format(http=http, udp=free_port(), key=API_KEY, secret=API_SECRET))
    with (folder / "livekit.log").open("wb") as log:
        server = subprocess.Popen(
            [servers[-1], "--config", folder / "livekit.yaml"], stdout=log, stderr=log,
        )
    try:
        wait_for_http(f"http://127.0.0.1:{http}/", server, folder / "livekit.log")
        yield f"ws://127.0.0.1:{http}"
    finally:
        server.terminate()
        server.wait(20)


def wait_for_http(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers; fails the test if it does not within a minute."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and server.poll() is None:
        try:
            httpx.get(url, trust_env=False, timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"nobody answers at {url}: {log.read_text(errors='replace')[-2000:]}")


def room_token(identity: str, room: str) -> str:
    """For a participant like any other."""
    now = datetime.datetime.now(datetime.UTC)
    grants = {"room": room, "roomJoin": True}
    claims = {"iss": API_KEY, "sub": identity, "exp": now + datetime.timedelta(hours=1), "video": grants}
    return jwt.encode(claims, API_SECRET, algorithm="HS256")
