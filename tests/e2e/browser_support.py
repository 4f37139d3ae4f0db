"""A real Chromium, real service processes and real media for the browser tests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import av
import cv2
import httpx
import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Playwright, Request

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_CALL = ROOT / "api" / "demo_media" / "sample_call.mp4"
PORTRAIT = ROOT / "tests" / "media" / "obama.jpg"
PICTURES_WANTED = bool(os.environ.get("DEEPGUARD_SCREENSHOTS"))     # read at import: a fixture clears it later

START_S = 60.0
BUSY_S = 60.0
expect.set_options(timeout=20_000)      # what pages have for changes that take no time: machines have bad moments
CAMERA_FRAMES = 300

CHROMIUM_FLAGS = (
    "--headless=new", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-quic", "--no-first-run", "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
CAMERA_FLAGS = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


def chromium_path() -> str:
    """The installed Chromium. Fails the test with what to install if there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.fail("these tests need Chromium: install the package 'chromium' (Debian, Ubuntu: apt install chromium)")


@contextmanager
def running_chromium(playwright: Playwright, camera: Path | None) -> Iterator[Browser]:
    """A headless browser whose only camera plays `camera` (motion JPEG) in a loop, or that has none."""
    flags = [*CHROMIUM_FLAGS]
    if camera is not None:
        flags += [*CAMERA_FLAGS, f"--use-file-for-fake-video-capture={camera}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    browser = playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=flags)
    try:
        yield browser
    finally:
        browser.close()


def make_camera_clip(source: Path, target: Path, frames: int = CAMERA_FRAMES) -> None:
    """Writes the first frames of a video as motion JPEG (JPEGs in a row), which Chromium's fake camera plays."""
    with av.open(str(source)) as clip, target.open("wb") as camera:
        for frame in islice(clip.decode(video=0), frames):
            done, jpeg = cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))
            assert done
            camera.write(jpeg.tobytes())


def free_port() -> int:
    """Returns a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _clean_environment(settings: dict[str, str]) -> dict[str, str]:
    """Returns the environment with `settings`, and without the DeepGuard settings of the developer."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("DEEPGUARD_") or n == "DEEPGUARD_DATABASE_URL"}
    return {**kept, "LOG_DIR": "", "HOST": "127.0.0.1", **settings}


@dataclass
class Service:
    """`deepguard serve` as a child process; can be killed and started again on the same port."""

    settings: dict[str, str]
    log: Path
    key: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Waits until the service is ready. Fails the test with the log after a timeout."""
        environment = _clean_environment({"PORT": str(self.port), **self.settings})
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        self.wait_for(lambda: self._workers() > 0, "a worker is ready")
        return self

    def wait_for(self, there: Callable[[], bool], what: str, within_s: float = START_S) -> None:
        """Polls until `there()`; fails the test with the end of the log if it takes too long."""
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            if self.process is not None and self.process.poll() is not None:
                break
            if there():
                return
            time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-4000:]
        pytest.fail(f"waited in vain until {what}; the service said:\n{tail}")

    def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.get(self.url + path, headers=headers, trust_env=False, timeout=30).json()

    def stream(self, stream_id: str) -> dict[str, Any] | None:
        """This stream as the service lists it."""
        return next((info for info in self.get("/v1/streams")["streams"] if info["stream"] == stream_id), None)

    def kill(self) -> None:
        """As a crash would end it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator would end it."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _workers(self) -> int:
        try:
            return int(self.get("/readyz")["workers_ready"])
        except httpx.TransportError:
            return 0


@contextmanager
def running_service(log: Path, key: str = "", **settings: str) -> Iterator[Service]:
    """Runs a ready service with these environment variables; shuts it down gracefully."""
    if key:
        settings["DEEPGUARD_API_KEYS"] = key
    service = Service(settings, log, key)
    try:
        yield service.start()
    finally:
        service.stop()


@contextmanager
def published(service: Service, stream_id: str, sample: bool = True) -> Iterator[None]:
    """The sample call, sent over WebRTC by a process of its own in a loop."""
    senders = [_sender(service, stream_id, sample)]

    def is_live() -> bool:
        if senders[-1].poll() is not None:      # refused: the service is busy and sent Retry-After
            senders.append(_sender(service, stream_id, sample))
        info = service.stream(stream_id)
        return info is not None and info["state"] == "live"

    try:
        service.wait_for(is_live, f"{stream_id} is live")
        yield
    finally:
        senders[-1].kill()      # like a dropped call: the service must detect it
        senders[-1].wait()


def _sender(service: Service, stream_id: str, sample: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "api.cli", "publish", str(SAMPLE_CALL), f"{service.url}/whip/{stream_id}"]
    with service.log.open("ab") as log:
        sender = subprocess.Popen(
            [*command, "--key-stdin", *(["--sample"] if sample else [])], cwd=ROOT, env=_clean_environment({}),
            stdin=subprocess.PIPE, stdout=log, stderr=log,
        )
    assert sender.stdin is not None
    sender.stdin.write(f"{service.key}\n".encode())
    sender.stdin.close()
    return sender


class Watch:
    """Records console messages and requests of a page."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self._own = (origin, origin.replace("http", "ws", 1), "blob:", "data:", "about:")
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)
        page.on("websocket", lambda socket: self._note(socket.url))

    def assert_quiet(self, *expected: str) -> None:
        """No error on the console but those that contain one of `expected`, and nothing asked of another host."""
        unexpected = [text for text in self.complaints if not any(part in text for part in expected)]
        if unexpected or self.foreign:
            pytest.fail(f"the page complains: {unexpected}; it asked other hosts: {self.foreign}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        self._note(request.url)

    def _note(self, url: str) -> None:
        if not url.startswith(self._own):
            self.foreign.append(url)


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Watch]:
    """The dashboard in a fresh browser profile."""
    context: BrowserContext = browser.new_context(**options)
    try:
        context.set_default_timeout(30_000)
        watch = Watch(context.new_page(), url)
        watch.page.goto(url + "/")
        yield watch
    finally:
        context.close()


def start_webcam(watch: Watch, press: Callable[[Locator], None] = lambda button: button.click()) -> str:
    """Starts the webcam, with retries while the service is busy; returns the name of the call."""
    page, status = watch.page, watch.page.locator("#webcam-status")
    deadline_s = time.monotonic() + BUSY_S
    while True:
        press(page.get_by_role("button", name="Start webcam"))
        expect(status).to_contain_text(re.compile(r"Live as webcam-|Try again in \d+ s"), timeout=BUSY_S * 1000)
        told = status.inner_text()
        if on_air := re.search(r"Live as (webcam-\w+)", told):
            return on_air[1]
        if time.monotonic() > deadline_s:
            pytest.fail(f"the service was busy for {BUSY_S:g} s: {told}")
        watch.complaints = [text for text in watch.complaints if "status of 503" not in text]
        page.wait_for_timeout(1000 * int(told.split("Try again in ")[1].split()[0]))


def is_painted(page: Page, selector: str) -> bool:
    """Whether a canvas shows a picture: more than a handful of different colours."""
    return bool(page.evaluate(
        """selector => {
          const canvas = document.querySelector(selector);
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size > 64;
        }""",
        selector,
    ))
