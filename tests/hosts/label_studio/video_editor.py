"""Label Studio's video editor in Chromium, worked the way a person does. Frames count from 1, points are the video's pixels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.hosts.label_studio.browser import PATIENCE_MS, Editor
from tests.hosts.label_studio.real_label_studio import RealLabelStudio

_VIDEO = "Htx.annotationStore.selected.objects.find(object => object.type === 'video')"
_LOADED = f"() => {{ const video = window.Htx?.annotationStore?.selected && {_VIDEO}; return video && video.length > 1; }}"
_FRAME = f"() => {_VIDEO}.frame"
# At once: before the file's first frame a player says soon after that it stands somewhere else.
_GONE_TO = f"frame => {{ const video = {_VIDEO}; video.setFrame(frame); return video.frame === frame; }}"
_FRACTION = f"""([x, y]) => {{
    const view = {_VIDEO}.ref.current;
    const {{width, height}} = view.videoDimensions;
    return [
        ((view.width - width * view.zoom) / 2 + view.pan.x + x * view.zoom) / view.width,
        ((view.height - height * view.zoom) / 2 + view.pan.y + y * view.zoom) / view.height,
    ];
}}"""
_BOXES = f"""frame => Htx.annotationStore.selected.regions.filter(one => one.type === 'videorectangleregion').map(region => {{
    const box = region.isInLifespan(frame) ? region.getShape(frame) : null;
    const {{width, height}} = {_VIDEO}.ref.current.videoDimensions;
    return [region.cleanId, region.labelName ?? null, box && [
        box.x * width / 100, box.y * height / 100, (box.x + box.width) * width / 100, (box.y + box.height) * height / 100]];
}})"""
_SEQUENCE = (
    "id => JSON.parse(JSON.stringify(Htx.annotationStore.selected.regions.find(region => region.cleanId === id).sequence))"
)
_DELETE = "id => Htx.annotationStore.selected.regions.find(region => region.cleanId === id).deleteRegion()"
_SELECTED = "() => Htx.annotationStore.selected.regionStore.selection.list.map(region => region.cleanId)"
_IDLE = "() => !Htx.awaitingSuggestions"
_PIXELS = """() => {
    const video = document.querySelector('video');
    const canvas = document.createElement('canvas');
    canvas.width = video.videoWidth; canvas.height = video.videoHeight;
    canvas.getContext('2d').drawImage(video, 0, 0);
    return Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, 1).data);
}"""

Corners = tuple[float, float, float, float]


class VideoEditor:
    """A person at a video task; `editor` is logged in."""

    def __init__(self, editor: Editor) -> None:
        self.editor, self.page = editor, editor.page

    def open_task(self, project: int, task: int) -> None:
        self.editor._task = task
        self.page.goto(f"{self.editor._label_studio.url}/projects/{project}/data?task={task}")
        self.page.wait_for_function(_LOADED)
        self.page.wait_for_timeout(800)

    @property
    def frame(self) -> int:
        return int(self.page.evaluate(_FRAME))

    @property
    def frame_count(self) -> int:
        return int(self.page.evaluate(f"() => {_VIDEO}.length"))

    def go_to(self, frame: int) -> None:
        """Seeks, and waits until the player is there."""
        self.page.wait_for_function(_GONE_TO, arg=frame)
        self.page.wait_for_function("() => !document.querySelector('video').seeking")
        self.page.wait_for_timeout(150)

    def draw(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Drags a new box."""
        self._drag((x0, y0), (x1, y1))
        self.page.wait_for_timeout(200)

    def move_side(self, box: Corners, wanted: Corners) -> None:
        """Makes the box that is selected another one, by its top left and bottom right handles."""
        self._drag(box[:2], wanted[:2])
        self.page.wait_for_timeout(200)
        self._drag(box[2:], wanted[2:])
        self.page.wait_for_timeout(200)

    def select(self, x: float, y: float) -> None:
        """Clicks on a box."""
        self.page.mouse.click(*self.on_screen(x, y))
        self.page.wait_for_timeout(200)

    @property
    def selected(self) -> list[str]:
        return list(self.page.evaluate(_SELECTED))

    def label(self, name: str) -> None:
        """Clicks a label of the list."""
        self.page.locator(".lsf-label", has_text=name).first.click()
        self.page.wait_for_timeout(200)

    def wait_for_answer(self, number: int) -> tuple[Any, Any]:
        found = self.editor.wait_for_answer(number)
        self.page.wait_for_function(_IDLE, timeout=PATIENCE_MS)
        self.page.wait_for_timeout(300)
        return found

    def delete(self, region: str) -> None:
        """Removes a region, as its button in the list of regions does."""
        self.page.evaluate(_DELETE, region)
        self.page.wait_for_timeout(200)

    def wait_for_draft(self, label_studio: RealLabelStudio, regions: Iterable[str]) -> None:
        """Until Label Studio has saved what the editor shows: boxes of these regions, and no others."""
        wanted = set(regions)
        for _ in range(PATIENCE_MS // 200):
            drafts = label_studio.api(f"/api/tasks/{self.editor._task}/drafts")
            if any({one["id"] for one in draft["result"] if one["type"] == "videorectangle"} == wanted for draft in drafts):
                return
            self.page.wait_for_timeout(200)
        raise AssertionError(f"no draft has {wanted}")

    def boxes(self, frame: int) -> dict[str, tuple[str | None, Corners | None]]:
        """What the editor shows on a frame: label and corners of each region, None for one that is not shown."""
        found = self.page.evaluate(_BOXES, frame)
        return {region: (label, tuple(box) if box else None) for region, label, box in found}

    def sequence(self, region: str) -> list[dict[str, Any]]:
        return list(self.page.evaluate(_SEQUENCE, region))

    def top_row(self) -> list[tuple[int, int, int]]:
        """The picture that the browser shows now: colours of its uppermost pixels."""
        data = self.page.evaluate(_PIXELS)
        return [tuple(data[at : at + 3]) for at in range(0, len(data), 4)]

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        across, down = self.page.evaluate(_FRACTION, [x, y])
        box = self.page.locator(".konvajs-content").first.bounding_box()
        assert box is not None
        return box["x"] + box["width"] * across, box["y"] + box["height"] * down

    def _drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        (x0, y0), (x1, y1) = self.on_screen(*start), self.on_screen(*end)
        mouse = self.page.mouse
        mouse.move(x0, y0)
        mouse.down()
        for step in range(1, 9):
            mouse.move(x0 + (x1 - x0) * step / 8, y0 + (y1 - y0) * step / 8)
            self.page.wait_for_timeout(40)
        mouse.up()
