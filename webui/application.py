"""The server as one ASGI application: the page, the doors, and the guards before them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import studio
from studio.jobs.service import Service
from studio.webui import a1111_api, api_catalogue, api_jobs, failures, openai_api
from studio.webui.guards import BodyLimit, KnownPlaces, LoginNeeded
from studio.webui.observing import Metrics, Observed
from studio.webui.settings import Settings
from studio.webui.waiting import Hub


def create_app(service: Service, settings: Settings, *, page: bool = True) -> FastAPI:
    """The application around a service, which the caller starts and stops.

    Args:
        service: takes the jobs.
        settings: how the server is reached and by whom.
        page: whether the Gradio page is part of it.
    """
    hub, metrics = Hub(service), Metrics(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        hub.open()
        yield
        hub.close()

    app = FastAPI(
        title="latent-studio",
        version=studio.__version__,
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,  # these two fetch their scripts from other people's servers
        redoc_url=None,
    )
    app.state.hub = hub
    failures.install(app)
    app.include_router(api_jobs.router(service, hub))
    app.include_router(api_catalogue.router(service))
    app.include_router(openai_api.router(service, hub))
    app.include_router(a1111_api.router(service, hub))
    _add_health(app, service, metrics)
    if page:
        _mount_page(app, service, settings)
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(LoginNeeded, settings=settings)
    app.add_middleware(KnownPlaces, settings=settings)
    app.add_middleware(Observed, metrics=metrics)  # the last one added is the outermost
    return app


def _add_health(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"])
    def readyz() -> JSONResponse:
        """Jobs are accepted and drawn."""
        if service.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, 503)

    @app.get("/metrics", tags=["health"], response_class=Response)
    def show_metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _mount_page(app: FastAPI, service: Service, settings: Settings) -> None:
    # Read by Gradio and huggingface_hub when they are imported.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    from studio.webui.page.building import mount

    def name(request: Request) -> str | None:
        return api_jobs.owner(request) or None

    login = name if settings.logins else None
    mount(app, service, max_file_size=settings.max_body_bytes, auth_dependency=login)
