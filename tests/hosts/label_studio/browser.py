"""Label Studio's editor in Chromium, worked the way a person does. Coordinates are pixels of the picture.

Never `time.sleep` here and no `page.route`: both stall the page's requests under Playwright's synchronous interface.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Response, sync_playwright

from tests.hosts.label_studio.real_label_studio import RealLabelStudio

PATIENCE_MS = 60_000
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip

_LOADED = """() => {
    const image = window.Htx?.annotationStore?.selected?.objects?.find(object => object.type === 'image');
    return image && image.currentImageEntity?.imageLoaded && image.stageWidth > 1;
}"""
_FRACTION = """([x, y]) => {
    const image = Htx.annotationStore.selected.objects.find(object => object.type === 'image');
    const {naturalWidth, naturalHeight} = image.currentImageEntity;
    return [
        (image.zoomingPositionX + x / naturalWidth * image.stageWidth * image.zoomScale) / image.canvasSize.width,
        (image.zoomingPositionY + y / naturalHeight * image.stageHeight * image.zoomScale) / image.canvasSize.height,
    ];
}"""
_TOOL = """() => Htx.annotationStore.selected.objects[0].getToolsManager().findSelectedTool()?.dynamic === true"""
_IS_SELECTED = "([name, value]) => Htx.annotationStore.selected.names.get(name).selectedValues().includes(value)"
_LABEL_NUMBER = """([name, value]) => {
    let number = 0;
    for (const tag of Htx.annotationStore.selected.names.values()) {
        if (!tag.isLabeling || !tag.tiedChildren) continue;
        for (const label of tag.tiedChildren) {
            if (tag.name === name && label._value === value) return number;
            number++;
        }
    }
    return -1;
}"""
_SUGGESTED = "() => Htx.annotationStore.selected.suggestions.size > 0 && !Htx.awaitingSuggestions"
_PAINTED = """points => {
    const layers = [...document.querySelectorAll('.konvajs-content canvas')].slice(1).map(canvas => [
        canvas.width, canvas.height, canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]);
    return points.map(([x, y]) => Math.max(...layers.map(([width, height, data]) =>
        data[4 * (Math.floor(height * y) * width + Math.floor(width * x)) + 3] || 0)));
}"""
_TEXTS = """() => Htx.annotationStore.selected.regions.concat([...Htx.annotationStore.selected.names.values()])
    .flatMap(one => one.type === 'textarea' ? (one.selectedValues?.() ?? one._value ?? []) : []).flat()"""
_FRACTIONS = f"points => points.map({_FRACTION})"
_SUGGESTIONS = "() => Htx.annotationStore.selected.suggestions.size"


def chromium() -> str | None:
    """The browser's path, or None where there is none."""
    return os.environ.get("LOCARA_CHROMIUM") or shutil.which("chromium")


@contextmanager
def page_of(path: str) -> Iterator[Page]:
    """A page of a browser that reaches this machine only."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        try:
            yield browser.new_page(viewport={"width": 1400, "height": 1000})
        finally:
            browser.close()


class Editor:
    """A person at a task of a project."""

    def __init__(self, page: Page, label_studio: RealLabelStudio) -> None:
        self.page, self._label_studio = page, label_studio
        self._answers: list[Response] = []
        self._task = 0
        page.set_default_timeout(PATIENCE_MS)
        page.on("response", self._note)

    def _note(self, response: Response) -> None:
        if "/interactive-annotating" in response.url:
            self._answers.append(response)

    def log_in(self) -> None:
        self.page.goto(f"{self._label_studio.url}/user/login/")
        self.page.fill("input[name=email]", self._label_studio.email)
        self.page.fill("input[name=password]", self._label_studio.password)
        self.page.click("button[type=submit]")
        self.page.wait_for_function("!location.pathname.startsWith('/user/login')")

    def open_task(self, project: int, task: int) -> None:
        """Opens a task and waits until its picture is there; clicks before that land on an empty stage."""
        self._task = task
        self.page.goto(f"{self._label_studio.url}/projects/{project}/data?task={task}")
        self.page.wait_for_selector(".konvajs-content canvas", state="attached")
        self.page.wait_for_function(_LOADED)
        self.page.wait_for_timeout(500)

    def auto_annotation(self, *, on: bool = True) -> None:
        """The toggle is there only when an interactive backend is connected."""
        self._toggle("bottombar-auto-annotation-toggle", on=on)

    def auto_accept(self, *, on: bool) -> None:
        self._toggle("bottombar-auto-accept-toggle", on=on)

    def _toggle(self, name: str, *, on: bool) -> None:
        toggle = self.page.locator(f"[data-testid={name}]")
        toggle.wait_for(state="attached")
        if toggle.is_checked() != on:
            toggle.click(force=True)  # a styled element lies over it
        self.page.wait_for_function(
            "([name, on]) => document.querySelector(`[data-testid=${name}]`).checked === on", arg=[name, on]
        )

    def smart_tool(self, name: str) -> None:
        """Picks "key-point-tool" or "rectangle-tool"; the tools lie in a part that opens on hovering."""
        tools = self.page.locator(".lsf-tool_smart")
        tools.first.wait_for(state="attached")
        named = self.page.locator(f".lsf-tool_smart[aria-label={name}]")
        (named if named.count() else tools).first.dispatch_event("click")
        self.page.wait_for_function(_TOOL)

    def label(self, control: str, value: str) -> None:
        """Selects a label. A click on a selected one would take it off, and Label Studio takes it off after each region."""
        for _ in range(4):
            self.page.wait_for_timeout(150)
            if self.page.evaluate(_IS_SELECTED, [control, value]):
                return
            self.page.locator(".lsf-label").nth(self.page.evaluate(_LABEL_NUMBER, [control, value])).click()
        raise AssertionError(f"label {value!r} of {control!r} does not stay selected")

    def click(self, x: float, y: float, *, negative: bool = False, over_region: bool = False) -> None:
        """Clicks at a point; Alt makes it negative, Ctrl sets it where a region would be picked instead."""
        keys = [key for key, held in (("Alt", negative), ("Control", over_region)) if held]
        for key in keys:
            self.page.keyboard.down(key)
        self.page.mouse.click(*self._on_screen(x, y))
        for key in keys:
            self.page.keyboard.up(key)

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Drags a box, slowly: the editor looks at the mouse every 48 ms only."""
        mouse = self.page.mouse
        mouse.move(*self._on_screen(x0, y0))
        mouse.down()
        for step in range(1, 9):
            mouse.move(*self._on_screen(x0 + (x1 - x0) * step / 8, y0 + (y1 - y0) * step / 8))
            self.page.wait_for_timeout(60)
        mouse.up()

    def write(self, text: str) -> None:
        """A text prompt, in a TextArea with one row."""
        field = self.page.locator("[data-testid=textarea-input]").first
        field.scroll_into_view_if_needed()
        field.fill(text)
        field.press("Enter")

    @property
    def asked(self) -> int:
        """How many smart requests were answered so far."""
        return len(self._answers)

    def wait_for_answer(self, number: int) -> tuple[Any, Any]:
        """The smart request of this number, counted from 1: what the editor sent, and the answer."""
        for _ in range(PATIENCE_MS // 100):
            if self.asked >= number:
                response = self._answers[number - 1]
                return response.request.post_data_json, response.json()
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{self.asked} smart requests, not {number}")

    def wait_for_suggestion(self) -> None:
        self.page.wait_for_function(_SUGGESTED)
        self.page.wait_for_timeout(500)

    def painted(self, x: float, y: float) -> int:
        """How opaque the regions are at a point, 0 to 255; 0 where nothing is drawn."""
        return self.painted_at([(x, y)])[0]

    def painted_at(self, points: Sequence[tuple[float, float]]) -> list[int]:
        """As `painted`, for many points at once."""
        places = self.page.evaluate(_FRACTIONS, [list(point) for point in points])
        return [int(alpha) for alpha in self.page.evaluate(_PAINTED, places)]

    @property
    def suggestions(self) -> int:
        """How many regions wait to be accepted or rejected."""
        return int(self.page.evaluate(_SUGGESTIONS))

    def texts(self) -> list[str]:
        """What the text areas of the task hold."""
        found = self.page.evaluate(_TEXTS)
        return [str(text) for text in found]

    def screenshot(self, name: str) -> Path:
        """Writes what the person sees into the folder that LOCARA_SCREENSHOTS names, else beside Label Studio's own files."""
        folder = Path(os.environ.get("LOCARA_SCREENSHOTS") or self._label_studio.folder / "screenshots")
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png")
        return folder / f"{name}.png"

    def regions(self) -> list[tuple[str, str]]:
        """Type and label of the annotation's regions."""
        found = self.page.evaluate("() => Htx.annotationStore.selected.regions.map(region => [region.type, region.labelName])")
        return [(kind, label) for kind, label in found]

    def accept(self) -> None:
        self.page.click("[data-testid=bottombar-accept-suggestions-button]")
        self.page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size === 0")

    def submit(self) -> dict[str, Any]:
        """Submits; gives the annotation that Label Studio stored."""
        with self.page.expect_response(self._is_submission) as awaited:
            self.page.click("[data-testid=bottombar-submit-button]")
        assert awaited.value.status == 201
        stored: dict[str, Any] = awaited.value.json()
        return stored

    def _is_submission(self, response: Response) -> bool:
        return f"/api/tasks/{self._task}/annotations" in response.url and response.request.method == "POST"

    def _on_canvas(self, x: float, y: float) -> list[float]:
        """Where a point of the picture is drawn, as fractions of the canvas; the editor may have zoomed by itself."""
        drawn: list[float] = self.page.evaluate(_FRACTION, [x, y])
        return drawn

    def _on_screen(self, x: float, y: float) -> tuple[float, float]:
        across, down = self._on_canvas(x, y)
        box = self.page.locator(".konvajs-content").first.bounding_box()
        assert box is not None
        return box["x"] + box["width"] * across, box["y"] + box["height"] * down
