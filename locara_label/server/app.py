"""The routes. Quick ones answer while everything else is busy; slow ones wait in threads of their own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import move_on_after, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from locara_label.errors import Cancelled, LocaraError
from locara_label.hosts.label_studio.fields import Fields, parse_json
from locara_label.server.answers import answer, failure, status_of
from locara_label.server.fiftyone_files import FiftyoneFiles
from locara_label.server.guards import LOCAL_NAMES, Guards
from locara_label.server.places import Endpoint, Places, body_of
from locara_label.server.service import Service
from locara_label.server.video_routes import BASE as SESSIONS
from locara_label.server.video_routes import VideoRoutes

log = logging.getLogger("locara_label.server")

MAX_BODY = 16 << 20
MAX_PREDICT_BODY = 64 << 20
"""Label Studio sends all that a task holds with every click, the masks drawn so far included."""
CLOSE_S = 3
"""What a model that still runs gets at the end; its thread dies with the process."""
_QUICK_THREADS, _MAX_QUICK = 8, 200

Work = Callable[[Fields], Any]


def create_app(service: Service) -> Starlette:
    """The ASGI application of a service; closing it closes the service."""
    routes = _Routes(service)
    settings = service.settings.server
    credentials = settings.basic_auth.get_secret_value() if settings.basic_auth else None
    names = (*LOCAL_NAMES, settings.host, *settings.names)
    files = {settings.path + SESSIONS: settings.video_bytes}
    guards = Middleware(
        Guards, names=names, credentials=credentials, prefix=settings.path, max_bytes=_max_bytes, max_file_bytes=files
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        yield
        with move_on_after(CLOSE_S):
            await to_thread.run_sync(service.close, abandon_on_cancel=True)

    return Starlette(
        routes=routes.table(), middleware=[guards], lifespan=lifespan, exception_handlers={HTTPException: _http_failure}
    )


def _max_bytes(path: str) -> int:
    return MAX_PREDICT_BODY if path.endswith("/predict") else MAX_BODY


async def _http_failure(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = {404: "there is nothing at this address", 405: "this address takes another method"}.get(status, "failed")
    return answer({"error": {"code": f"http.{status}", "message": text}}, status)


def _answered(work: Work, body: bytes) -> Response:
    """Parses, works and writes in one thread: bodies and answers may be so large that the event loop must not wait for them."""
    return answer(work(parse_json(body)))


class _Routes:
    def __init__(self, service: Service) -> None:
        self.service = service
        # Clicks wait inside their threads, so there are as many threads as may wait; what comes on top is refused at once.
        self.slow = Places(3 * service.settings.server.waiting + 8)
        self.quick = Places(_QUICK_THREADS, _MAX_QUICK)

    def table(self) -> list[Route]:
        service = self.service
        posts: tuple[tuple[str, Work, Places], ...] = (
            ("/setup", service.setup, self.quick),
            ("/predict", service.predict, self.slow),
            ("/webhook", service.webhook, self.quick),
            ("/v1/segment", service.segment, self.slow),
            ("/v1/mask_from_prompt", service.mask_from_prompt, self.slow),
        )
        gets = (
            ("/health", self.health),
            ("/ready", self.ready),
            ("/versions", self.versions),
            ("/metrics", self.metrics),
            ("/v1/models", self.models),
        )
        prefix = service.settings.server.path
        return [
            *(Route(prefix + path, self._post(path, work, places), methods=["POST"]) for path, work, places in posts),
            *(Route(prefix + path, get, methods=["GET"]) for path, get in gets),
            *VideoRoutes(service, self.told).table(prefix),
            *FiftyoneFiles(service, self.told).table(prefix),
        ]

    async def health(self, _: Request) -> Response:
        """Alive: answers whatever else goes on."""
        return answer({"status": "UP", "model_class": "locara-label"})

    async def ready(self, _: Request) -> Response:
        """The models are loaded and there is room in the queues."""
        state = self.service.state()
        return answer(state, 200 if state["ready"] else 503)

    async def versions(self, _: Request) -> Response:
        """What Label Studio offers as versions of the model."""
        return answer({"versions": [self.service.version], "message": ""})

    async def metrics(self, _: Request) -> Response:
        """For Prometheus."""
        return Response(self.service.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, _: Request) -> Response:
        """Every model of the catalogue and its state on this machine."""
        return answer(await to_thread.run_sync(self.service.models, limiter=self.quick.threads))

    def _post(self, path: str, work: Work, places: Places) -> Endpoint:
        async def act(request: Request) -> Response:
            body = await body_of(request)
            with places.one():
                return await to_thread.run_sync(_answered, work, body, limiter=places.threads)

        return self.told(path, act)

    def told(self, path: str, act: Endpoint) -> Endpoint:
        """An endpoint whose failures are answered and whose requests are counted, under this path."""

        async def route(request: Request) -> Response:
            began = time.monotonic()
            try:
                response = await act(request)
            except LocaraError as error:
                response = self._failed(path, error)
            except ClientDisconnect:
                response = answer({}, 499)
            except Exception:
                log.exception("%s failed in a way that nobody thought of", path)
                response = self._failed(path, LocaraError("the server failed; its log says how", code="internal"))
            except asyncio.CancelledError:  # the time for an orderly stop is over; better a coded answer than uvicorn's own
                response = self._failed(path, Cancelled("the server stops before this is done"))
            self.service.metrics.requests.labels(path, response.status_code).inc()
            self.service.metrics.seconds.labels(path).observe(time.monotonic() - began)
            return response

        return route

    def _failed(self, path: str, error: LocaraError) -> Response:
        self.service.metrics.errors.labels(error.code).inc()
        level = logging.ERROR if status_of(error) >= 500 else logging.WARNING
        log.log(level, "%s refused or failed: [%s] %s", path, error.code, error.message, extra={"code": error.code})
        return failure(error)
