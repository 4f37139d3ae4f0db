"""Runs a command in a network namespace with a monitored uplink, and reports every outgoing packet.

    unshare --mount --net python -m tests.e2e.isolated_network HOME COMMAND...

The namespace has loopback and a default route that ends in a virtual cable. The name server lies behind the cable too,
so a DNS query is seen as well as a connection. Prints one JSON object: the command's exit status and the destinations
of all captured IPv4 packets.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

OUR_ADDRESS, GATEWAY = "192.0.2.2", "192.0.2.1"  # TEST-NET-1 (RFC 5737)
_ANY_PROTOCOL = 0x0003
_IPV4 = 0x0800


def main() -> None:
    home, *command = sys.argv[1:]
    _lay_cable()
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": home}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ANY_PROTOCOL)) as tap:
        tap.bind(("far-end", 0))
        tap.setblocking(False)
        done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
        left = _destinations(tap)
    print(json.dumps({"status": done.returncode, "left": left, "output": done.stdout + done.stderr}))


def _lay_cable() -> None:
    for arguments in (
        "link set lo up",
        "link add near-end type veth peer name far-end",
        f"addr add {OUR_ADDRESS}/24 dev near-end",
        "link set near-end up",
        "link set far-end up",
        f"neigh add {GATEWAY} lladdr 02:00:00:00:00:01 dev near-end nud permanent",
        f"route add default via {GATEWAY}",
    ):
        subprocess.run(("ip", *arguments.split()), check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as names:
        names.write(f"nameserver {GATEWAY}\noptions timeout:1 attempts:1\n")
    subprocess.run(("mount", "--bind", names.name, str(Path("/etc/resolv.conf").resolve())), check=True)


def _destinations(tap: socket.socket) -> list[str]:
    """`protocol address:port` of every captured IPv4 packet, repeats dropped."""
    found = []
    while True:
        try:
            packet, (_, kind, *_) = tap.recvfrom(65536)
        except BlockingIOError:
            return sorted(set(found))
        if kind == _IPV4:
            header = packet[14:]
            length = (header[0] & 15) * 4
            port = int.from_bytes(header[length + 2 : length + 4], "big")
            found.append(f"{header[9]} {socket.inet_ntoa(header[16:20])}:{port}")


if __name__ == "__main__":
    main()
