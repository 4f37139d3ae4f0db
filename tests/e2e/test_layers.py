"""The page's webcam sends temporal layers; what the sampling does not need of them is not decoded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.e2e.browser_support import (
    SAMPLE_CALL,
    make_camera_clip,
    opened,
    running_chromium,
    running_service,
)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

FRAMES = 300        # ten seconds at the camera's full rate


def test_of_a_browsers_three_layers_only_the_base_is_decoded(tmp_path: Path) -> None:
    make_camera_clip(SAMPLE_CALL, tmp_path / "camera.mjpeg")
    with (
        running_service(tmp_path / "service.log", DEEPGUARD_ADAPTIVE="false") as service,
        sync_playwright() as playwright,
        running_chromium(playwright, tmp_path / "camera.mjpeg") as browser,
        opened(browser, service.url) as watch,
    ):
        page = watch.page
        page.get_by_role("button", name="Start webcam").click()
        expect(page.locator("#webcam-status")).to_contain_text(re.compile("Live as webcam-"))
        stream = str(page.locator(".card[data-stream^='webcam-']").get_attribute("data-stream"))

        def info() -> dict[str, Any]:
            return service.stream(stream) or {"frames": {"received": 0}}

        service.wait_for(lambda: info()["frames"]["received"] >= FRAMES // 3, "the layers are known")
        before = info()["frames"]
        service.wait_for(lambda: info()["frames"]["received"] >= before["received"] + FRAMES, "frames came in")
        after = info()
        page.get_by_role("button", name="Stop").click()
    came = after["frames"]["received"] - before["received"]
    decoded = after["frames"]["decoded"] - before["decoded"]
    assert 0.2 <= decoded / came <= 0.3, "a quarter of the frames are in the base layer"
    assert after["frames"]["skipped"] + after["frames"]["decoded"] <= after["frames"]["received"]
    assert after["verdict"]["coverage"] >= 0.8
