"""The routes of `/v1/video/sessions`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from anyio import create_task_group, to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from locara_label.errors import LocaraError
from locara_label.hosts.label_studio.fields import Fields, parse_json
from locara_label.runtime.session import Stop
from locara_label.server.answers import answer
from locara_label.server.core import Core
from locara_label.server.events import EventStream, Feed, until_gone
from locara_label.server.guards import is_file, user_of
from locara_label.server.places import Endpoint, Places, body_of
from locara_label.server.sending import received
from locara_label.server.video import Call, Videos
from locara_label.server.video_runs import Runs
from locara_label.server.video_sharing import SharedSessions

BASE = "/v1/video/sessions"
LOCAL = "local"
"""The owner of all sessions of a server without users."""
_FETCHING = 4
_RESULT_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-disposition": 'attachment; filename="masklets.json"',
}

T = TypeVar("T")
Told = Callable[[str, Endpoint], Endpoint]
Work = Callable[[Call], Any]


class VideoRoutes:
    """From requests to `Videos` and `Runs`, and back."""

    def __init__(self, core: Core, told: Told) -> None:
        """`told` gives an endpoint whose failures are answered, under the path that it is given."""
        waiting = core.settings.server.waiting
        self._core, self._told = core, told
        sessions = SharedSessions(core)
        self._videos, self._runs = Videos(core, sessions), Runs(core, sessions)
        # Fetching a video takes long: it has threads of its own, and so has what waits for a session.
        self._fetching, self._places = Places(_FETCHING, waiting), Places(waiting + 8)

    def table(self, prefix: str) -> Iterator[Route]:
        """The routes below a prefix."""
        videos, one = self._videos, f"{BASE}/{{session}}"
        for method, path, work, places in (
            ("GET", one, videos.state, self._places),
            ("DELETE", one, videos.close, self._places),
            ("POST", f"{one}/prompt", videos.prompt, self._places),
            ("POST", f"{one}/lock", videos.lock, self._places),
            ("POST", f"{one}/cancel", self._runs.cancel, self._places),
            ("DELETE", f"{one}/objects/{{object}}", videos.remove, self._places),
        ):
            yield Route(prefix + path, self._told(path, self._plain(work, places)), methods=[method])
        yield Route(prefix + BASE, self._told(BASE, self.create), methods=["POST"])
        yield Route(f"{prefix}{one}/propagate", self._told(f"{one}/propagate", self.propagate), methods=["POST"])
        yield Route(f"{prefix}{one}/result", self._told(f"{one}/result", self.result), methods=["GET"])

    async def create(self, request: Request) -> Response:
        """Opens a session, on a video that is named or on the body itself. Where the client leaves meanwhile, there is none."""
        if not is_file(request.headers):
            call = await self._call(request)
            with self._fetching.one():
                return await self._made(request, lambda stop: self._videos.create(call, stop))
        call = Call(self._owner(request), "", dict(request.query_params))
        with self._fetching.one():
            core, threads = self._core, self._fetching.threads
            file = await received(request, core.video_files, core.settings.server.video_fetch_s, threads)
            return await self._made(request, lambda stop: self._videos.keep(call, file, stop))

    async def _made(self, request: Request, make: Callable[[Stop], dict[str, Any]]) -> Response:
        stop = Stop()
        async with create_task_group() as group:
            group.start_soon(until_gone, request.receive, stop.set)
            made = await to_thread.run_sync(_caught, lambda: make(stop), limiter=self._fetching.threads)
            group.cancel_scope.cancel()
        if isinstance(made, LocaraError):
            raise made
        return answer(made)

    async def propagate(self, request: Request) -> Response:
        """Starts a run, and tells it as server-sent events. It ends when nobody listens."""
        feed = Feed()
        with self._places.one():
            call = await self._call(request)
            run = await to_thread.run_sync(self._runs.start, call, feed.put, limiter=self._places.threads)
        return EventStream(feed, run.cancel)

    async def result(self, request: Request) -> Response:
        """All masklets, as a file."""
        with self._places.one():
            call = await self._call(request)
            pieces = await to_thread.run_sync(self._videos.result, call, limiter=self._places.threads)
        return StreamingResponse(pieces, headers=_RESULT_HEADERS, media_type="application/json")

    def _plain(self, work: Work, places: Places) -> Endpoint:
        async def act(request: Request) -> Response:
            call = await self._call(request)
            with places.one():
                return await to_thread.run_sync(lambda: answer(work(call)), limiter=places.threads)

        return act

    async def _call(self, request: Request) -> Call:
        body = await body_of(request) if request.method == "POST" else b""
        fields: Fields = await to_thread.run_sync(parse_json, body, limiter=self._places.threads) if body else {}
        names = request.path_params
        return Call(self._owner(request), names.get("session", ""), fields, names.get("object", ""))

    def _owner(self, request: Request) -> str:
        user = None if self._core.settings.server.basic_auth is None else user_of(request.headers)
        return LOCAL if user is None else f"user:{user}"


def _caught(work: Callable[[], T]) -> T | LocaraError:
    """An error as a value, which a group of tasks does not wrap."""
    try:
        return work()
    except LocaraError as error:
        return error
