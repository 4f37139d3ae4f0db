"""A real LiveKit server on loopback, as `make livekit` builds it."""

from __future__ import annotations

import datetime
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
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
room: {{ departure_timeout: 2 }}
logging: {{ level: warn }}
"""


@dataclass
class LiveKit:
    """The server's process, and where it answers."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Fails the test if it was not built, or does not start."""
        servers = sorted((ROOT / "build" / "livekit").glob("livekit-server-*"))
        if not servers:
            pytest.fail("these tests need LiveKit's server: make livekit")
        log = self.folder / "livekit-server.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [servers[-1], "--config", self.folder / "livekit.yaml"], stdout=output, stderr=output
            )
        wait_for_http(f"http://127.0.0.1:{self.port}/", self.process, log)

    def kill(self) -> None:
        """As a crash would end it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def running_livekit(folder: Path) -> Iterator[LiveKit]:
    """On ports of its own; a room closes soon after its last participant left."""
    server = LiveKit(folder, free_port())
    config = CONFIG.format(http=server.port, udp=free_port(), key=API_KEY, secret=API_SECRET)
    (folder / "livekit.yaml").write_text(config)
    try:
        server.start()
        yield server
    finally:
        server.kill()


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
    pytest.fail(f"no answer at {url}: {log.read_text(errors='replace')[-2000:]}")


def room_token(identity: str, room: str) -> str:
    """For a participant like any other."""
    now = datetime.datetime.now(datetime.UTC)
    grants = {"room": room, "roomJoin": True}
    claims = {"iss": API_KEY, "sub": identity, "exp": now + datetime.timedelta(hours=1), "video": grants}
    return jwt.encode(claims, API_SECRET, algorithm="HS256")
