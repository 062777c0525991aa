"""The real editor in Chromium, looked at: what it draws, and pictures of it. Reaches this machine only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from locara_label.errors import RunError
from locara_label.quickstart.projects import Ready

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from locara_label.quickstart.folder import Kept

PATIENCE_MS = 120_000
_FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SELECTED = "window.Htx?.annotationStore?.selected"
_PICTURE = f"""() => {_SELECTED}?.objects?.some(object => object.type === 'image' && object.currentImageEntity?.imageLoaded
    && object.stageWidth > 1)"""
_VIDEO = f"{_SELECTED}?.objects?.find(object => object.type === 'video')"
_DRAWN = """() => [...document.querySelectorAll('.konvajs-content canvas')].slice(1).reduce((most, canvas) => {
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let drawn = 0;
    for (let at = 3; at < data.length; at += 4) drawn += data[at] > 0;
    return Math.max(most, drawn / (data.length / 4));
}, 0)"""
_REGIONS = f"() => {_SELECTED}.regions.filter(one => one.type !== 'textarea').length"
_AREA = f"""frame => {_SELECTED}.regions.filter(one => one.type === 'videorectangleregion' && one.isInLifespan(frame))
    .reduce((sum, one) => sum + (one.getShape(frame)?.width ?? 0) * (one.getShape(frame)?.height ?? 0), 0)"""
_BOXES = f"""frame => {_SELECTED}.regions.filter(one => one.type === 'videorectangleregion' && one.isInLifespan(frame)
    && one.getShape(frame)).length"""
_FULLEST = f"""() => Array.from({{length: ({_VIDEO}).length}}, (_, at) => at + 1).slice(4).reduce(
    (best, frame) => ({_AREA})(frame) > ({_AREA})(best) ? frame : best, 1)"""
_INSTALL = "install the package of that name or run `playwright install chromium`"
_LEAST_DRAWN = 0.001
"""Of the canvas."""


def browser() -> str | None:
    """Why nothing can be looked at, None where it can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "Playwright is not installed: `pip install playwright`"
    return None if _chromium() else f"Chromium is not installed: {_INSTALL}, or name its program in LOCARA_CHROMIUM"


def look(url: str, kept: Kept, tasks: Sequence[tuple[Ready, int]], folder: Path | None) -> list[Path]:
    """Opens tasks as a person who logs in; gives the screenshots.

    Args:
        url: of Label Studio.
        kept: the login.
        tasks: to look at, each with its project.
        folder: for the screenshots, made when missing; None for none.

    Raises:
        RunError: code quickstart.editor; nothing is drawn, or the browser fails.
    """
    from playwright.sync_api import Error

    try:
        with _page(_chromium()) as page:
            _log_in(page, url, kept)
            return [shot for ready, task in tasks for shot in _looked(page, url, ready, task, folder)]
    except Error as error:
        raise RunError(f"the editor cannot be looked at: {str(error)[:600]}", code="quickstart.editor") from error


@contextmanager
def _page(path: str | None) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, headless=True, args=flags, timeout=PATIENCE_MS)
        try:
            page = found.new_page(viewport={"width": 1400, "height": 900})
            page.set_default_timeout(PATIENCE_MS)
            yield page
        finally:
            found.close()


def _chromium() -> str | None:
    """The one that is named, the system's, or Playwright's own."""
    named = os.environ.get("LOCARA_CHROMIUM") or next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    return named or _own()


def _own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


def _log_in(page: Page, url: str, kept: Kept) -> None:
    page.goto(f"{url}/user/login/")
    page.fill("input[name=email]", kept.email)
    page.fill("input[name=password]", kept.password)
    page.click("button[type=submit]")
    page.wait_for_function("!location.pathname.startsWith('/user/login')")


def _looked(page: Page, url: str, ready: Ready, task: int, folder: Path | None) -> Iterator[Path]:
    page.goto(f"{url}/projects/{ready.project}/data?task={task}")
    if ready.material.kind == "image":
        _see_masks(page, ready, task)
    else:
        _see_boxes(page, ready, task)
    if folder is not None:
        path = folder / f"{ready.material.kind}-project-{ready.project}-task-{task}.png"
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=path)
        yield path


def _see_masks(page: Page, ready: Ready, task: int) -> None:
    page.wait_for_function(_PICTURE)
    page.wait_for_timeout(1500)
    drawn, regions = float(page.evaluate(_DRAWN)), int(page.evaluate(_REGIONS))
    if not regions or drawn < _LEAST_DRAWN:
        text = f"task {task} of {ready.material.title!r} opens with {regions} regions, and {drawn:.2%} of the picture is covered"
        raise RunError(text, code="quickstart.editor")


def _see_boxes(page: Page, ready: Ready, task: int) -> None:
    page.wait_for_function(f"() => ({_VIDEO})?.length > 1")
    page.wait_for_timeout(1500)
    frame = page.evaluate(_FULLEST)
    page.evaluate(f"frame => ({_VIDEO}).setFrame(frame)", frame)
    page.wait_for_timeout(1000)
    if not page.evaluate(_BOXES, frame):
        raise RunError(f"task {task} of {ready.material.title!r} shows no box on frame {frame}", code="quickstart.editor")
