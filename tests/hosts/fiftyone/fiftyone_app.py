"""FiftyOne's App with our plugin, in Chromium, worked the way a person does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, FloatRect, Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from locara_label.types import Box

PATIENCE_MS = 60_000
PRESSES = 3
START_S = 180.0
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-features=LocalNetworkAccessChecks",  # what a test changes on its way counts as from the internet
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip


def chromium() -> str | None:
    """The browser's path, or None where there is none."""
    return os.environ.get("LOCARA_CHROMIUM") or shutil.which("chromium")


@dataclass(frozen=True)
class Served:
    """An App's server: its address and its process."""

    url: str
    pid: int


@contextmanager
def serving(log: Path, settings: Mapping[str, str] | None = None) -> Iterator[Served]:
    """The App's server, as the environment says and with more settings."""
    port = _free_port()
    command = [sys.executable, "-m", "fiftyone.server.main", "--port", str(port), "--address", "127.0.0.1"]
    environment = {**os.environ, "FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS": "true", **(settings or {})}
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        try:
            _wait(f"http://127.0.0.1:{port}/", server, log)
            yield Served(f"http://127.0.0.1:{port}", server.pid)
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(20)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (OSError, urllib.error.URLError):
            assert server.poll() is None, log.read_text("utf-8", "replace")[-4000:]
            assert time.monotonic() < give_up, "the App's server did not start"
            time.sleep(0.3)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def browsing(path: str) -> Iterator[Page]:
    """A page of a browser that reaches this machine only."""
    with opened_browser(path) as browser, new_page(browser) as page:
        yield page


@contextmanager
def opened_browser(path: str) -> Iterator[Browser]:
    """A browser that reaches this machine only; there may be one at a time."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    """A page that knows nothing of the others."""
    with browser.new_page(viewport={"width": 1500, "height": 950}) as page:
        page.set_default_timeout(PATIENCE_MS)
        yield page


class App:
    """A person at the App."""

    def __init__(self, page: Page, url: str, plugins: Path, shots: Path | None = None) -> None:
        self.page, self.url, self.plugins, self.shots = page, url, plugins, shots

    def cy(self, name: str) -> Locator:
        return self.page.locator(f'[data-cy="{name}"]')

    def shot(self, name: str) -> None:
        """A picture for whoever looks at the tests' work; none where nobody asked."""
        if self.shots is not None:
            self.shots.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(self.shots / f"{name}.png"))

    def open(self, dataset: str) -> None:
        """Opens a data set, and what lies over it goes: the popover of a first visit, a sample that the server remembers."""
        self.page.goto(f"{self.url}/datasets/{dataset}")
        self.cy("looker").first.wait_for()
        self.page.wait_for_timeout(1500)
        for _ in range(10):
            if not self.page.locator(".MuiPopover-root .MuiBackdrop-root").count():
                break
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(300)
        if self.page.locator("#modal.modalon").count():
            self.page.mouse.click(6, 450)
            self.page.wait_for_timeout(900)

    def operator(self, label: str) -> Locator:
        """Finds an operator in the operators' browser; gives its form."""
        self.page.keyboard.press("`")
        self.cy("operators-browser").wait_for()
        self.page.keyboard.type(label)
        self.page.wait_for_timeout(700)
        self.page.keyboard.press("Enter")
        form = self.cy("operators-prompt-modal")
        form.wait_for()
        form.get_by_role("button", name="Execute").wait_for()
        return form

    def field(self, form: Locator, value: str) -> Locator:
        """The input that holds a value."""
        inputs, give_up = form.locator("input"), time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < give_up:
            self.page.wait_for_timeout(300)
            found = [number for number, one in enumerate(inputs.all()) if one.input_value() == value]
            if found:
                return inputs.nth(found[0])
        raise AssertionError(f"no input has the value {value!r}")

    def execute(self, form: Locator) -> None:
        button = form.get_by_role("button", name="Execute")
        expect(button).to_be_enabled(timeout=PATIENCE_MS)
        button.click()

    def press(self, button: str, told: str) -> None:
        """Presses a button of a panel until something is told: one that is just drawn anew takes no click."""
        for _ in range(PRESSES - 1):
            self.page.get_by_role("button", name=button, exact=True).click()
            with suppress(PlaywrightTimeout):
                return self.page.get_by_text(told).first.wait_for(timeout=PATIENCE_MS / PRESSES)
        self.page.get_by_role("button", name=button, exact=True).click()
        return self.page.get_by_text(told).first.wait_for()

    def choose(self, form: Locator, number: int, option: str) -> None:
        """Takes an option of a form's drop-down list with a number."""
        form.get_by_role("combobox").nth(number).click()
        self.page.get_by_role("option", name=option).first.click()
        self.wait(800)

    def schedule(self, form: Locator) -> None:
        """Queues an operator in place of running it."""
        form.get_by_role("button", name="Execute").locator("xpath=following::button").first.click()
        self.page.get_by_text("Schedule", exact=True).first.click()
        button = form.get_by_role("button", name="Schedule")
        expect(button).to_be_enabled(timeout=PATIENCE_MS)
        button.click()

    def slide(self, name: str, key: str) -> None:
        """Moves the slider with a name by a key."""
        slider = self.page.locator(f'xpath=//*[normalize-space(text())="{name}"]/following::input[@type="range"]').first
        slider.focus()
        self.page.keyboard.press(key)

    def panel(self, name: str) -> None:
        """Opens a panel, or turns to it where the server remembers that it was open."""
        tab = self.cy(f"panel-tab-{name}")
        if tab.count():
            tab.first.click()
            return
        self.cy("new-panel-btn").first.click()
        self.cy(f"new-panel-option-{name}").click()

    def open_panel(self, name: str, size: tuple[int, int]) -> Canvas:
        """Opens the click panel and waits for its picture, of this height and width in pixels."""
        self.panel(name)
        self.wait(2000)
        self.shot("panel-opened")
        self.page.locator(".js-plotly-plot .nsewdrag").first.wait_for()
        self.wait(3000)
        return Canvas(self.page, size)

    def wait(self, milliseconds: int) -> None:
        self.page.wait_for_timeout(milliseconds)

    def script(self, source: str, *arguments: Any) -> Any:
        return self.page.evaluate(source, *arguments)


class Canvas:
    """The picture of the click panel; places are in pixels of the picture itself."""

    def __init__(self, page: Page, size: tuple[int, int]) -> None:
        self.page, self.size = page, size

    def point_at(self, x: float, y: float) -> tuple[float, float]:
        """Moves the mouse, as Plotly gives clicks only where it was moved before; gives the place on the page."""
        left, top = self._on_page(x, y)
        self.page.mouse.move(left - 3, top - 3)
        self.page.wait_for_timeout(200)
        self.page.mouse.move(left, top)
        self.page.wait_for_timeout(300)
        return left, top

    def click(self, x: float, y: float, *, shift: bool = False) -> None:
        left, top = self.point_at(x, y)
        if shift:
            self.page.keyboard.down("Shift")
        self.page.mouse.click(left, top)
        if shift:
            self.page.keyboard.up("Shift")

    def box(self, box: Box) -> None:
        """Two corners, in box mode."""
        self.page.get_by_text("Box", exact=True).first.click()
        self.page.get_by_text("two corners around the object").first.wait_for()
        self.click(box.x0 + 0.5, box.y0 + 0.5)
        self.page.get_by_text("opposite corner").first.wait_for()
        self.click(min(box.x1, self.size[1]) - 0.5, min(box.y1, self.size[0]) - 0.5)

    def pictures(self) -> list[str]:
        """What is drawn: the picture, and the mask over it."""
        found = self.page.locator(".js-plotly-plot image").evaluate_all("all => all.map(one => one.href.baseVal)")
        return [str(one) for one in found]

    def changes(self, before: list[str]) -> None:
        """Waits until something else is drawn."""
        drawn = "[...document.querySelectorAll('.js-plotly-plot image')]"
        code = f"before => {drawn}.some((one, place) => one.href.baseVal !== before[place])"
        self.page.wait_for_function(code, arg=before)

    def _on_page(self, x: float, y: float) -> tuple[float, float]:
        plot = self.page.locator(".js-plotly-plot .nsewdrag").first
        plot.scroll_into_view_if_needed()
        found = plot.bounding_box()
        assert found is not None
        return in_frame(found, self.size, x, y)


def in_frame(frame: FloatRect, size: tuple[int, int], x: float, y: float) -> tuple[float, float]:
    """Where a pixel is on the page, of a picture of this height and width that is as large as its frame lets it be."""
    height, width = size
    scale = min(frame["width"] / width, frame["height"] / height)
    left = frame["x"] + (frame["width"] - width * scale) / 2
    top = frame["y"] + (frame["height"] - height * scale) / 2
    return left + x * scale, top + y * scale
