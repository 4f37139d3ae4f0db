"""Figures for Prometheus. Nothing that names a stream: what is told here is no secret, and stays small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from api.routes.context import AppContext, context_of

if TYPE_CHECKING:
    from consumers.consumer_health import ConsumerStatus
    from stream.types import FrameCounts
    from stream.worker_pool_config import PoolStatus

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    return exposition(service_metrics(context_of(request)))


def exposition(figures: Sequence[Metric]) -> Response:
    """These and those of the process, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_FixedMetrics(figures))
    ProcessCollector(registry=registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def service_metrics(context: AppContext) -> list[Metric]:
    """Of `serve`. Those of frames and ages are of the streams that run now."""
    status = context.service.status
    live = [info for info in context.service.list() if info.state == "live"]
    figures: list[Metric] = [
        _gauge("streams", "streams that run now", status.streams),
        _gauge("workers_ready", "worker processes that are warm", status.workers_ready),
        _gauge("workers_wanted", "worker processes that there should be", status.workers_wanted),
        _gauge("watchers", "open connections that follow events", len(context.watchers)),
        _gauge("loop_lag_seconds", "how late the event loop was, at worst in five seconds",
               context.loop_lag.worst_lag_s),
        _gauge("verdict_age_seconds", "age of the latest verdict when it was made, of the stream that is latest",
               max((info.verdict.age_ms / 1000 for info in live if info.verdict is not None), default=0.0)),
        CounterMetricFamily("deepguard_events", "events on the bus since the start", context.bus.offset),
        incidents_lost(context.incidents.publisher.lost),
        *_frames([info.frames for info in live]),
    ]
    if context.gateway is not None:
        silent_s = context.gateway.unreachable_s
        figures.append(_gauge("broker_unreachable_seconds", "since when the broker has not answered", silent_s))
    return figures


def incidents_lost(count: int) -> Metric:
    """0 for good where the database keeps up: an alarm that is counted here was told, but is not kept."""
    return CounterMetricFamily("deepguard_incidents_lost", "alarms (and ends of alarms) that were not kept", count)


def consumer_metrics(status: ConsumerStatus, workers: PoolStatus) -> list[Metric]:
    """Of `consume`."""
    lag = GaugeMetricFamily("deepguard_lag_records", "records from what was read to the end", labels=["partition"])
    held = GaugeMetricFamily("deepguard_held_records", "records that were read and wait", labels=["partition"])
    for partition in status.partitions:
        labels = [str(partition.partition)]
        held.add_metric(labels, partition.held)
        if partition.lag is not None:
            lag.add_metric(labels, partition.lag)
    return [
        _gauge("ready", "1 if the consumer can work", float(not status.reasons and workers.ready > 0)),
        _gauge("workers_ready", "worker processes that are warm", workers.ready),
        _gauge("workers_wanted", "worker processes that there should be", workers.wanted),
        _gauge("partitions", "partitions that are ours", len(status.partitions)),
        CounterMetricFamily("deepguard_worker_restarts", "workers that died or hung", workers.restarts),
        CounterMetricFamily("deepguard_dead_letters", "records that were refused", status.dead_letters),
        CounterMetricFamily("deepguard_dead_letters_left_out", "of them, not kept", status.left_out),
        lag,
        held,
    ]


class _FixedMetrics(Collector):
    """Figures that are known already."""

    def __init__(self, figures: Sequence[Metric]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        return self._figures


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"deepguard_{name}", meaning, value)


def _frames(counts: Sequence[FrameCounts]) -> list[Metric]:
    frames = GaugeMetricFamily("deepguard_frames", "frames of the streams that run now", labels=["state"])
    for state in ("received", "skipped", "decoded", "sampled", "scored"):
        frames.add_metric([state], sum(getattr(each, state) for each in counts))
    dropped = GaugeMetricFamily("deepguard_frames_dropped", "frames of them that were dropped", labels=["cause"])
    causes: Counter[str] = Counter()
    for each in counts:
        causes.update(each.dropped)
    for cause, number in causes.items():
        dropped.add_metric([cause], number)
    return [frames, dropped]
