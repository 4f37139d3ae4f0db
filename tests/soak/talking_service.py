"""A real service with synthetic verdicts, to measure delivery without analysis.

    python -m tests.soak.talking_service STREAMS SECONDS

Prints its port. After a line on standard input it publishes a verdict per stream and second, evenly, with the time of
publication in `start_s`. Then it prints its resource usage as JSON, and ends when standard input closes."""

from __future__ import annotations

import json
import sys
import time

import msgspec
import psutil

from tests.api.calls import said, started
from tests.api.rig import Rig, running_rig


def main() -> None:
    streams, seconds = int(sys.argv[1]), float(sys.argv[2])
    with running_rig() as rig:
        _say({"port": rig.port})
        sys.stdin.readline()
        process = psutil.Process()
        before = process.cpu_times()
        rss_mb = [process.memory_info().rss / 2**20]
        began_s = time.monotonic()
        _talk(rig, streams, seconds, lambda: rss_mb.append(process.memory_info().rss / 2**20))
        used = process.cpu_times()
        cores = (used.user + used.system - before.user - before.system) / (time.monotonic() - began_s)
        _say({"cores": round(cores, 2), "rss_mb": [round(rss_mb[0], 1), round(max(rss_mb), 1)]})
        sys.stdin.readline()


def _talk(rig: Rig, streams: int, seconds: float, look: object) -> None:
    publish = rig.context.bus.publish
    for n in range(streams):
        rig.call(publish, started(f"s{n}"))
    began_s = time.monotonic()
    for n in range(round(streams * seconds)):
        time.sleep(max(0.0, began_s + n / streams - time.monotonic()))
        verdict = said(f"s{n % streams}", n // streams + 1)
        rig.call(lambda verdict=verdict: publish(msgspec.structs.replace(verdict, start_s=time.time())))
        if n % streams == 0:
            look()      # type: ignore[operator]


def _say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
