"""Logs as JSON lines, and metrics for Prometheus."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.jobs.job import STATUSES
from studio.jobs.service import Service

log = logging.getLogger("studio.webui.access")

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_FREQUENT = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds by machines


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(_Jobs(service))
        self.requests = Counter(
            "studio_http_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "studio_http_seconds",
            "Time to the first byte of an answer",
            ("route",),
            registry=self.registry,
        )


class _Jobs(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Reads the numbers when they are asked for."""
        jobs = GaugeMetricFamily("studio_jobs", "Jobs by state", labels=["status"])
        counts = self._service.counts()
        for status in STATUSES:
            jobs.add_metric([status], counts.get(status, 0))
        yield jobs
        pictures = GaugeMetricFamily("studio_pictures", "Pictures of all jobs")
        pictures.add_metric([], self._service.picture_count())
        yield pictures
        ready = GaugeMetricFamily("studio_ready", "Whether jobs are accepted and drawn")
        ready.add_metric([], float(self._service.ready))
        yield ready

    def describe(self) -> Iterator[Metric]:
        """Names the metrics without reading the store."""
        for name in ("studio_jobs", "studio_pictures", "studio_ready"):
            yield GaugeMetricFamily(name, "")


class Observed:
    """ASGI middleware that counts and logs every answer. No body, query or header is logged."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status, took = time.perf_counter(), 500, 0.0

        async def watched(message: Message) -> None:
            nonlocal status, took
            if message["type"] == "http.response.start":
                status, took = message["status"], time.perf_counter() - began
            await send(message)

        try:
            return await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", None) or "other"
            self._metrics.requests.labels(scope["method"], route, status).inc()
            self._metrics.seconds.labels(route).observe(took)
            level = logging.DEBUG if scope["path"] in _FREQUENT else logging.INFO
            log.log(
                level,
                "answered",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "took_ms": round(1000 * took, 1),
                    "client": (scope.get("client") or ("",))[0],
                    "owner": scope.get("state", {}).get("owner", ""),
                },
            )


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever the caller added."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr(level: str) -> None:
    """Sends all logs to standard error as JSON lines; other people's code from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("studio").setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
