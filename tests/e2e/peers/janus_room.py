"""A real Janus on loopback, with a folder of its own and nothing but its videoroom."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.browser_support import free_port
from tests.e2e.peers.livekit_room import wait_for_http

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM = 1
PLUGINS, TRANSPORTS = "libjanus_videoroom.so", "libjanus_http.so"
CONFIG = """
general: {{
    configs_folder = "{folder}"
    plugins_folder = "{folder}/plugins"
    transports_folder = "{folder}/transports"
    events_folder = "{folder}/none"
    loggers_folder = "{folder}/none"
    debug_level = 4
}}
"""
HTTP = 'general: {{ json = "compact", base_path = "/janus", http = true, port = {port}, ip = "127.0.0.1" }}'
VIDEOROOM = f'room-{ROOM}: {{ publishers = 2, fir_freq = 0, videocodec = "vp8", bitrate = 2000000 }}'


@contextmanager
def running_janus(folder: Path) -> Iterator[str]:
    """Its address. The room asks its publishers for no key frames of its own."""
    libraries = next(Path("/usr/lib").glob("*/janus"), None)
    if libraries is None:
        pytest.fail("these tests need Janus: make peers")
    port = free_port()
    for kind, name in (("plugins", PLUGINS), ("transports", TRANSPORTS)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / name).symlink_to(libraries / kind / name)
    (folder / "none").mkdir()
    (folder / "janus.jcfg").write_text(CONFIG.format(folder=folder))
    (folder / "janus.transport.http.jcfg").write_text(HTTP.format(port=port))
    (folder / "janus.plugin.videoroom.jcfg").write_text(VIDEOROOM)
    with (folder / "janus.log").open("wb") as log:
        server = subprocess.Popen(["janus", "-F", folder], stdout=log, stderr=log)
    try:
        wait_for_http(f"http://127.0.0.1:{port}/janus/info", server, folder / "janus.log")
        yield f"http://127.0.0.1:{port}/janus"
    finally:
        server.terminate()
        server.wait(20)
