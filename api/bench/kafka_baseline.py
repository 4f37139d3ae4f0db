"""Baseline consumer: auto-commit, decoding in the event loop, `mtcnn` and Keras `predict` on every sampled frame.

Needs the extra `train`.

    python -m api.bench.kafka_baseline BOOTSTRAP TOPIC SECONDS      (JSON on standard output)
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import av
import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer

from api.bench.options import FRAME_RATE_HZ, RATE_HZ
from consumers.media_contract import Media, parse
from detector.config import DetectorConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from consumers.media_contract import Item

    Score = Callable[[NDArray[np.uint8]], float]

_EVERY = round(FRAME_RATE_HZ / RATE_HZ)
_WARM_UP = 2


class BaselineConsumption(msgspec.Struct, frozen=True, kw_only=True):
    """What the baseline consumed. `cores` is its CPU use in cores."""

    records: int
    samples: int
    seconds: float
    cores: float


class _Stream:
    """The decoder of one stream, without limits or isolation."""

    def __init__(self) -> None:
        self._decoder: Any = None
        self._frames = 0

    def samples(self, item: Media) -> list[NDArray[np.uint8]]:
        if self._decoder is None:
            self._decoder = av.CodecContext.create(item.content_type.rpartition("/")[2], "r")
        found = []
        for frame in self._decoder.decode(av.Packet(item.payload)):
            if self._frames % _EVERY == 0:
                found.append(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
            self._frames += 1
        return found


async def consume(bootstrap: str, topic: str, seconds: float, score: Score) -> BaselineConsumption:
    """Consumes from the start of the topic, for `seconds` after two warm-up samples."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=f"baseline-{time.time_ns()}", auto_offset_reset="earliest"
    )
    await consumer.start()
    streams: dict[str, _Stream] = {}
    records = samples = 0
    began_s = cpu_s = 0.0
    try:
        async for message in consumer:
            item: Item = parse(message.key, message.value, tuple(message.headers))
            if isinstance(item, Media):
                for rgb in streams.setdefault(item.identity.stream, _Stream()).samples(item):
                    score(rgb)
                    samples += 1
            records += 1
            if not began_s and samples >= _WARM_UP:
                records = samples = 0
                began_s, cpu_s = time.monotonic(), time.process_time()
            if began_s and time.monotonic() - began_s >= seconds:
                break
    finally:
        await consumer.stop()
    took_s = time.monotonic() - began_s
    return BaselineConsumption(
        records=records, samples=samples, seconds=took_s, cores=(time.process_time() - cpu_s) / took_s
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how many records the baseline consumer processes.")
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("seconds", type=float)
    args = parser.parse_args()
    from detector.benchmark import build_naive  # needs the extra `train`; the reader of the result does not

    score = build_naive(DetectorConfig())
    result = asyncio.run(consume(args.bootstrap, args.topic, args.seconds, score))
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


if __name__ == "__main__":
    main()
