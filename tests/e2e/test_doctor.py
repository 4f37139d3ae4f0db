"""`deepguard doctor` on a healthy set-up with a real TURN server (coturn), and on one where everything is broken."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from api.settings.base import child_environment
from tests.api.rig import Rig, running_rig
from tests.e2e.browser_support import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "shared-with-the-turn-server"
KEY = "a-doctors-key-0123456789"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with running_rig(api_keys=(SecretStr(KEY),)) as running:
        yield running


@contextmanager
def coturn(folder: Path) -> Iterator[str]:
    """`host:port` of a TURN server whose users are made with the secret."""
    port = free_port()
    command = [
        "turnserver", "-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", str(port),
        "--use-auth-secret", "--static-auth-secret", SECRET, "--realm", "deepguard", "--no-tls", "--no-dtls",
        "--no-cli", "--allow-loopback-peers", "--pidfile", str(folder / "pid"), "--log-file", str(folder / "log"),
        "--simple-log", "--userdb", str(folder / "users"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def doctor(*arguments: str, key: str = "", **settings: str) -> tuple[int, dict[str, tuple[str, str]], str]:
    """Runs the command; returns its exit status, each check's level and text, and the output."""
    command = [sys.executable, "-m", "api.cli", "doctor", *arguments]
    done = subprocess.run(
        command, env=child_environment(**settings), input=key + "\n", capture_output=True, text=True, timeout=120,
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    found = {line.split()[1]: (line.split()[0].lower(), line) for line in lines}
    return done.returncode, found, done.stdout + done.stderr


def until_healthy(*arguments: str, **settings: str) -> tuple[int, dict[str, tuple[str, str]], str]:
    """The TURN server takes a moment to start."""
    end_s = time.monotonic() + 30
    while (result := doctor(*arguments, key=KEY, **settings))[0] and time.monotonic() < end_s:
        time.sleep(0.5)
    return result


def test_a_healthy_set_up_is_called_healthy(rig: Rig, tmp_path: Path) -> None:
    with coturn(tmp_path) as turn:
        status, found, said = until_healthy(
            "--url", rig.url, "--key-stdin", DEEPGUARD_STUN=f"stun:{turn}", DEEPGUARD_TURN=f"turn:{turn}?transport=udp",
            DEEPGUARD_TURN_SECRET=SECRET, DEEPGUARD_UDP_PORTS="20600-20699",
        )
    assert status == 0, said
    assert {name: level for name, (level, _) in found.items()} == dict.fromkeys(
        ("exposure", "model", "codecs", "addresses", "ports", "stun", "turn", "broker", "service", "call"), "ok"
    )
    assert "relays from 127.0.0.1" in found["turn"][1]
    assert SECRET not in said
    assert KEY not in said


def test_a_turn_server_with_a_different_secret_is_reported(tmp_path: Path) -> None:
    with coturn(tmp_path) as turn:
        until_healthy(DEEPGUARD_STUN=f"stun:{turn}")
        status, found, _ = doctor(DEEPGUARD_TURN=f"turn:{turn}", DEEPGUARD_TURN_SECRET="another")
    assert (status, found["turn"][0]) == (1, "fail")


def test_every_fault_is_reported_with_a_remedy(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    status, found, said = doctor(
        "--url", f"http://{nobody}", HOST="0.0.0.0", MODEL_PATH=str(tmp_path), DEEPGUARD_UDP_PORTS="20700-20701",
        DEEPGUARD_TURN=f"turn:{nobody}", DEEPGUARD_TURN_SECRET=SECRET, KAFKA_BOOTSTRAP_SERVERS=nobody,
    )
    assert status == 1
    levels = {name: level for name, (level, _) in found.items()}
    assert levels | {"addresses": ""} == {
        "exposure": "fail", "model": "fail", "codecs": "ok", "addresses": "", "ports": "warn", "turn": "fail",
        "broker": "fail", "service": "fail",
    }
    assert said.count("-> ") >= 6


def test_a_wrong_key_is_named_as_the_reason(rig: Rig) -> None:
    status, found, said = doctor("--url", rig.url, "--key-stdin", key="not-the-key-of-anybody")
    assert (status, found["call"][0]) == (1, "fail")
    assert "DEEPGUARD_API_KEYS" in said
