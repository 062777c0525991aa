"""The App's own AI tool, Annotate > Segmentation > AI, worked the way a person does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, Response, Route

from tests.hosts.fiftyone.fiftyone_app import App, in_frame, new_page

WORKER = "**/assets/worker-*.js"
"""Runs SAM 2."""
CLICKS, REACTS_S = 4, 30


@contextmanager
def page_without_webgpu(browser: Browser) -> Iterator[Page]:
    """A page of a browser without WebGPU.

    Chromium has no switch for that. With WebGPU but without a GPU, the App's worker falls back to WebAssembly all the same, and
    then runs the encoder for nothing first.
    """

    def without(route: Route) -> None:
        script = route.fetch()
        route.fulfill(response=script, body=f"Object.defineProperty(navigator, 'gpu', {{value: undefined}});{script.text()}")

    with new_page(browser) as page:
        page.route(WORKER, without)
        yield page


class AiTool:
    """The tool on a sample's picture; places are in pixels of the picture itself."""

    def __init__(self, app: App, size: tuple[int, int], files: str) -> None:
        """The tool of an App, for a picture of this height and width.

        Args:
            app: with its page.
            size: height and width of the picture in pixels.
            files: how the addresses begin from which it takes its model.
        """
        self.app, self.size = app, size
        self.fetched: list[tuple[str, int]] = []
        """File and status of every answer to a request for one of its files."""
        self.told: list[str] = []
        """What the tool says on the console, such as how long the encoder ran."""
        app.page.context.on("response", lambda answer: self._note(answer, files))
        app.page.on("console", lambda line: self.told.append(line.text) if line.text.startswith("[sam2-perf]") else None)

    def open(self, dataset: str) -> None:
        """The tool on the first sample of a data set."""
        self.app.open(dataset)
        self.app.cy("looker").first.click()
        self.app.cy("annotate").click()
        self.app.cy("segmentation-mode").click()
        self.app.cy("ai").click()
        self.app.cy("lighter-sample-renderer-canvas").wait_for()
        self.app.wait(1500)

    def click(self, x: float, y: float) -> None:
        """On the object; within what was found, off it. A click while the App is still busy is lost, and done again."""
        before = self._reactions
        for _ in range(CLICKS):
            left, top = self._on_page(x, y)
            self.app.page.mouse.move(left - 3, top - 3)
            self.app.wait(300)
            self.app.page.mouse.move(left, top)
            self.app.wait(300)
            self.app.page.mouse.click(left, top)
            for _ in range(REACTS_S):
                if self._reactions > before:
                    return
                self.app.wait(1000)
        raise AssertionError(f"the tool takes no click at {x}, {y}: {self.told}")

    @property
    def _reactions(self) -> int:
        return len(self.fetched) + len(self.told)

    def _note(self, answer: Response, files: str) -> None:
        if answer.url.startswith(files):
            self.fetched.append((answer.url.removeprefix(files), answer.status))

    def _on_page(self, x: float, y: float) -> tuple[float, float]:
        found = self.app.cy("lighter-sample-renderer-canvas").bounding_box()
        assert found is not None
        return in_frame(found, self.size, x, y)
