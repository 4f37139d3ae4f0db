"""The whole system in processes of its own: edge (WHIP) to Kafka to two consumers to a gateway to a page in Chromium.
Each piece is killed and started again; the call goes on being judged, and the page shows it.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright
from websockets.sync.client import connect

from tests.e2e.browser_support import Service, opened, published, running_chromium, running_service
from tests.e2e.kafka_support import Course, Member
from tests.e2e.test_browser import card_of, part

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import LocalCluster

CALL = "system-call"
PATIENCE_S = 90
FRESH = 4       # verdicts, two seconds of media: none that was made before the piece died


def settings_of(course: Course) -> dict[str, str]:
    names = ("KAFKA_", "DEEPGUARD_KAFKA_", "DEEPGUARD_WORKERS")
    return {name: value for name, value in course.environment("").items() if name.startswith(names)}


def verdict_after(gateway: Service, before: tuple[int, int]) -> tuple[int, int]:
    """Returns the gateway's first verdict after this one, as (epoch, sequence)."""
    url = gateway.url.replace("http", "ws", 1) + "/ws"
    deadline_s = time.monotonic() + PATIENCE_S
    with connect(url, subprotocols=["deepguard.v1"], proxy=None) as websocket:
        websocket.send(json.dumps({"type": "subscribe", "stream": CALL}))
        while True:
            message = json.loads(websocket.recv(timeout=deadline_s - time.monotonic()))
            event = message.get("event", {})
            if event.get("type") == "verdict" and (event["epoch"], event["sequence"]) > before:
                return event["epoch"], event["sequence"]


@pytest.mark.timeout(400)
def test_every_piece_may_die(own_kafka: LocalCluster, tmp_path: Path) -> None:
    course = Course.on(own_kafka, 3)
    settings = settings_of(course)
    consumers = [Member(course, name, tmp_path) for name in ("one", "two")]
    with ExitStack() as stack:
        for consumer in consumers:
            consumer.start()
            stack.callback(consumer.end)
        edge = stack.enter_context(running_service(tmp_path / "edge.log", DEEPGUARD_DETECT="kafka", **settings))
        gateway = stack.enter_context(running_service(tmp_path / "gateway.log", DEEPGUARD_VERDICTS="kafka", **settings))
        browser = stack.enter_context(running_chromium(stack.enter_context(sync_playwright()), None))
        page = stack.enter_context(opened(browser, gateway.url)).page
        card = card_of(page, CALL)
        with published(edge, CALL, sample=False):
            epoch, sequence = verdict_after(gateway, (0, 0))
            expect(part(card, "label")).not_to_be_empty(timeout=PATIENCE_S * 1000)
            for piece in (*consumers, gateway):
                piece.kill()
                piece.start()
                epoch, sequence = verdict_after(gateway, (epoch, sequence + FRESH))
            own_kafka.nodes[0].kill()
            own_kafka.start()
            call = verdict_after(gateway, (epoch, sequence + FRESH))
            assert call[0] == epoch, "it is one call all the time"
            expect(page.locator("#connection-text")).to_have_text("Connected", timeout=PATIENCE_S * 1000)
            expect(part(card, "label")).not_to_be_empty()
            edge.kill()
        edge.start()
        with published(edge, CALL, sample=False):
            verdict_after(gateway, (epoch + 1, 0))
            expect(part(card, "label")).not_to_be_empty(timeout=PATIENCE_S * 1000)
