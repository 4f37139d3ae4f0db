"""Prometheus metrics of `serve` and `consume`.

No metric names a stream: the endpoint is public by default, and its size is bounded.
"""

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
from api.routes.dependencies import require_key

if TYPE_CHECKING:
    from api.http.request_counts import RequestCounts
    from api.incidents.incident_publisher import IncidentPublisher
    from consumers.consumer_health import ConsumerStatus
    from stream.types import FrameCounts
    from stream.worker_pool_config import PoolStatus

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Returns metrics in the Prometheus text format. Requires an API key if DEEPGUARD_METRICS_PRIVATE is set."""
    context = context_of(request)
    if context.settings.metrics_private:
        await require_key(request)
    return exposition(service_metrics(context))


def exposition(collected: Sequence[Metric]) -> Response:
    """Returns these metrics and those of the process in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_FixedMetrics(collected))
    ProcessCollector(registry=registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def service_metrics(context: AppContext) -> list[Metric]:
    """Returns the metrics of `serve`. Frame counts and verdict ages cover the running streams."""
    status = context.service.status
    live = [info for info in context.service.list() if info.state == "live"]
    collected: list[Metric] = [
        _gauge("streams", "running streams", status.streams),
        _gauge("workers_ready", "worker processes that are ready", status.workers_ready),
        _gauge("workers_wanted", "worker processes that are configured", status.workers_wanted),
        _gauge("watchers", "open WebSocket and SSE connections", len(context.watchers)),
        _gauge("loop_lag_seconds", "largest event-loop lag of the last five seconds",
               context.loop_lag.worst_lag_s),
        _gauge("verdict_age_seconds", "largest age of a running stream's latest verdict when it was published",
               max((info.verdict.age_ms / 1000 for info in live if info.verdict is not None), default=0.0)),
        CounterMetricFamily("deepguard_events", "events published since start", context.bus.offset),
        *alarm_metrics(context.incidents.publisher),
        _http_responses(context.request_counts),
        *_frames([info.frames for info in live]),
    ]
    if context.gateway is not None:
        silent_s = context.gateway.unreachable_s
        collected.append(_gauge("broker_unreachable_seconds", "seconds since the Kafka broker last answered", silent_s))
    return collected


def alarm_metrics(publisher: IncidentPublisher) -> list[Metric]:
    """Returns the counters of alarms in this process, and of those that could not be stored."""
    alarms = publisher.alarms
    lost = "alarm openings and closings that were published but not stored"
    return [
        CounterMetricFamily("deepguard_alarms_opened", "alarms that opened in this process", alarms.opened),
        CounterMetricFamily("deepguard_alarms_closed", "alarms that closed in this process", alarms.closed),
        CounterMetricFamily("deepguard_incidents_lost", lost, publisher.lost),
        _gauge("incidents_waiting", "alarm openings and closings that wait for the database", publisher.waiting),
    ]


def _http_responses(counts: RequestCounts) -> Metric:
    responses = CounterMetricFamily(
        "deepguard_http_responses", "HTTP answers; `code` is the error code, empty without an error",
        labels=["method", "route", "status", "code"],
    )
    for kind, number in counts:
        responses.add_metric([kind.method, kind.route, str(kind.status), kind.code], number)
    return responses


def consumer_metrics(status: ConsumerStatus, workers: PoolStatus) -> list[Metric]:
    """Returns the metrics of `consume`."""
    lag = GaugeMetricFamily("deepguard_lag_records", "records not yet read", labels=["partition"])
    held = GaugeMetricFamily("deepguard_held_records", "records read but not yet processed", labels=["partition"])
    for partition in status.partitions:
        labels = [str(partition.partition)]
        held.add_metric(labels, partition.held)
        if partition.lag is not None:
            lag.add_metric(labels, partition.lag)
    return [
        _gauge("ready", "1 if the consumer is ready", float(not status.reasons and workers.ready > 0)),
        _gauge("workers_ready", "worker processes that are ready", workers.ready),
        _gauge("workers_wanted", "worker processes that are configured", workers.wanted),
        _gauge("partitions", "partitions assigned to this consumer", len(status.partitions)),
        CounterMetricFamily("deepguard_worker_restarts", "restarts of dead or hung workers", workers.restarts),
        CounterMetricFamily("deepguard_dead_letters", "records sent to the dead-letter queue", status.dead_letters),
        CounterMetricFamily(
            "deepguard_dead_letters_left_out", "dead letters dropped above the limit", status.discarded
        ),
        lag,
        held,
    ]


class _FixedMetrics(Collector):
    """A collector of metrics that are already computed."""

    def __init__(self, collected: Sequence[Metric]) -> None:
        self._metrics = collected

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"deepguard_{name}", meaning, value)


def _frames(counts: Sequence[FrameCounts]) -> list[Metric]:
    frames = GaugeMetricFamily("deepguard_frames", "frames, by state", labels=["state"])
    for state in ("received", "skipped", "decoded", "sampled", "scored"):
        frames.add_metric([state], sum(getattr(each, state) for each in counts))
    dropped = GaugeMetricFamily("deepguard_frames_dropped", "dropped frames, by cause", labels=["cause"])
    causes: Counter[str] = Counter()
    for each in counts:
        causes.update(each.dropped)
    for cause, number in causes.items():
        dropped.add_metric([cause], number)
    return [frames, dropped]
