"""The files from which FiftyOne's App runs SAM 2 in the browser, for networks that cannot reach the App's own source of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from locara_label.engine.browser_sam2 import FOLDER, NAMES, browser_file
from locara_label.errors import FetchFailed
from locara_label.runtime.onnx_file import OnnxFile
from locara_label.server.core import Core
from locara_label.server.places import Endpoint

_CHUNK = 1 << 20
_HEADERS = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin", "cache-control": "no-cache"}


class FiftyoneFiles:
    """Serves the files of the model that answers clicks."""

    def __init__(self, core: Core, told: Callable[[str, Endpoint], Endpoint]) -> None:
        self._core, self._told = core, told

    def table(self, prefix: str) -> list[Route]:
        return [Route(f"{prefix}{FOLDER}/{{file}}", self._told(f"{FOLDER}/", self.get), methods=["GET"])]

    async def get(self, request: Request) -> Response:
        """One file, made while it is sent."""
        name = request.path_params["file"]
        if name not in NAMES:
            raise FetchFailed(f"there is no file {name!r:.80} here, but {' and '.join(NAMES)}", code="fetch.not_found")
        found = await to_thread.run_sync(self._made, name)
        headers = {**_HEADERS, "content-length": str(found.size)}
        return StreamingResponse(_chunks(found), headers=headers, media_type="application/octet-stream")

    def _made(self, name: str) -> OnnxFile:
        core = self._core
        return browser_file(core.prompt_model.name, name, core.settings, weights=core.prompt_weights)


def _chunks(file: OnnxFile) -> Iterator[bytes]:
    for part in file.parts:
        for start in range(0, len(part), _CHUNK):
            yield bytes(part[start : start + _CHUNK])
