"""Network namespaces: a server and its clients, each in its own network, joined by a bridge. Root only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = "deepguard-server"
SERVER_ADDRESS = "10.213.0.1"
_TABLE = (
    "table ip bad { chain arriving { type filter hook input priority 0; }; "
    "chain leaving { type filter hook output priority 0; }; }"
)


def client_name(number: int) -> str:
    return f"deepguard-client-{number}"


def client_address(number: int) -> str:
    return f"10.213.0.{10 + number}"


@contextmanager
def network(clients: int) -> Iterator[None]:
    """Creates the namespaces of the server and of this many clients; removes them afterwards."""
    assert os.geteuid() == 0, "namespaces need root"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    assert not missing, f"{' and '.join(missing)} missing: `make peers` installs it"
    names = (SERVER, *map(client_name, range(clients)))
    _remove(names)      # remains of a run that was killed
    try:
        _ip("netns", "add", SERVER)
        _in_server("link", "add", "bridge", "type", "bridge")
        _in_server("addr", "add", f"{SERVER_ADDRESS}/24", "dev", "bridge")
        for device in ("lo", "bridge"):
            _in_server("link", "set", device, "up")
        for number in range(clients):
            _add_client(number)
        subprocess.run(("ip", "netns", "exec", SERVER, "nft", _TABLE), check=True)
        yield
    finally:
        _remove(names)


def nft(command: str) -> None:
    """Runs nft in the namespace of this process."""
    subprocess.run(("nft", command), check=True)


def lose(shares: dict[int, float]) -> None:
    """Drops these shares of the clients' UDP packets, both ways, from now on: 0 none, 1 all, by client number.

    Replaces earlier shares.
    """
    rules = ["flush chain ip bad arriving", "flush chain ip bad leaving"]
    for number, share in shares.items():
        if share:
            for chain, side in (("arriving", "saddr"), ("leaving", "daddr")):
                some = f"numgen random mod 1000 < {round(share * 1000)}" if share < 1 else ""
                drop = f"meta l4proto udp {some} drop"
                rules.append(f"add rule ip bad {chain} ip {side} {client_address(number)} {drop}")
    nft("; ".join(rules))


def run_in(namespace: str, module: str, *arguments: str) -> dict[str, Any]:
    """Runs a module in this namespace and returns the JSON that it prints last."""
    command = ("ip", "netns", "exec", namespace, sys.executable, "-m", module, *arguments)
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _add_client(number: int) -> None:
    name, cable = client_name(number), f"cable{number}"
    _ip("netns", "add", name)
    _in_server("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
    _in_server("link", "set", cable, "master", "bridge", "up")
    _ip("-n", name, "addr", "add", f"{client_address(number)}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip("-n", name, "link", "set", device, "up")


def _remove(names: tuple[str, ...]) -> None:
    there = {line.split()[0] for line in _ip("netns", "list").splitlines()}
    for name in there.intersection(names):
        _ip("netns", "del", name)


def _in_server(*arguments: str) -> None:
    _ip("-n", SERVER, *arguments)


def _ip(*arguments: str) -> str:
    return subprocess.run(("ip", *arguments), check=True, stdout=subprocess.PIPE, text=True).stdout
