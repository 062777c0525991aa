"""Operators that write data sets and read them, and those that take labels to Label Studio and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
from locara_label.errors import BadOption
from locara_label.exchange import LOCAL_FILES, from_label_studio, to_label_studio
from locara_label.hosts.fiftyone.exports import export_coco, export_panoptic, export_semantic
from locara_label.hosts.fiftyone.imports import import_coco, import_panoptic, import_semantic
from locara_label.hosts.fiftyone.progress import Progress, Summary
from locara_label.hosts.fiftyone.tracks import export_youtube_vis, import_youtube_vis
from locara_label.runtime.session import Stop

from .forms import MASKS, Form, value
from .running import Work

COCO, PANOPTIC, SEMANTIC, YOUTUBE_VIS = "coco", "panoptic", "semantic", "youtube_vis"
PICTURES = ((COCO, "COCO instances (RLE)"), (PANOPTIC, "COCO panoptic"), (SEMANTIC, "Semantic PNGs"))
VIDEOS = ((YOUTUBE_VIS, "YouTube-VIS (masklets)"),)
FIELD = "label_field"
Writer = Callable[..., Iterator[Progress]]
WRITERS: dict[str, Writer] = {
    COCO: export_coco,
    PANOPTIC: export_panoptic,
    SEMANTIC: export_semantic,
    YOUTUBE_VIS: export_youtube_vis,
}
READERS: dict[str, Writer] = {
    COCO: import_coco,
    PANOPTIC: import_panoptic,
    SEMANTIC: import_semantic,
    YOUTUBE_VIS: import_youtube_vis,
}
MAX_CONFIG = 1 << 20


class _Files(Work):
    """Work that says where its files are."""

    def more(self, ctx: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - the same for all
        return [("path", "File or folder")]

    def found(self, ctx: Any, summary: Summary) -> dict[str, Any]:
        return {**super().found(ctx, summary), "path": value(ctx, "path", "")}


def _kind(form: Form) -> str:
    kinds = VIDEOS if form.is_video else PICTURES
    return form.choice("kind", kinds, kinds[0][0], "Format")


def _chosen(ctx: Any) -> str:
    kinds = VIDEOS if ctx.dataset.media_type == "video" else PICTURES
    found = value(ctx, "kind", kinds[0][0])
    if found not in dict(kinds):
        raise BadOption(f"{ctx.dataset.media_type} samples are not kept as {found!r:.40}", code="option.kind")
    return str(found)


class Export(_Files):
    """Labels of a view as files, exact to the pixel."""

    name_, title, about = "export", "Export exact masks", "COCO RLE, panoptic, YouTube-VIS or semantic PNGs; not a pixel changes"
    icon, changes = "file_download", False

    def form(self, form: Form) -> None:
        form.target("Export")
        form.label_field(FIELD, "Field", (fo.Detections,) if form.is_video else MASKS)
        kind = _kind(form)
        form.path("path", "Folder to write" if kind == SEMANTIC else "File to write", description="on FiftyOne's machine")
        if kind != SEMANTIC and form.get("path") and Path(form.get("path")).is_dir():
            form.refuse("path", "this is a folder; name a file in it, such as coco.json")

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        return WRITERS[_chosen(ctx)](ctx.target_view(), value(ctx, FIELD, ""), Path(value(ctx, "path", "")), stop=stop)


class Import(_Files):
    """Files as labels."""

    name_, title = "import", "Import exact masks"
    about = "COCO, panoptic, YouTube-VIS or semantic PNGs become labels; files without a sample get one"
    icon = "file_upload"

    def form(self, form: Form) -> None:
        kind = _kind(form)
        form.path("path", "Folder of PNGs" if kind == SEMANTIC else "File", folder=kind == SEMANTIC, there=True)
        form.path("root", "Folder of the pictures or videos", folder=True, there=True)
        form.new_field(FIELD, "imported", "Field for the labels", "is replaced where the file has labels")

    def shown(self, ctx: Any) -> list[str]:
        return [value(ctx, FIELD, "imported")]

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        field, root = value(ctx, FIELD, "imported"), value(ctx, "root", "")
        return READERS[_chosen(ctx)](ctx.dataset, Path(value(ctx, "path", "")), field, root=root, stop=stop)


class ToLabelStudio(_Files):
    """Tasks for Label Studio's import."""

    name_, title = "to_label_studio", "Export to Label Studio"
    about = "A JSON file of tasks, masks exact, track ids kept; import it into a project"
    icon, changes = "drive_file_move", False

    def form(self, form: Form) -> None:
        form.target("Export")
        form.label_field(FIELD, "Field", MASKS)
        form.path("config", "File with the project's labeling config (XML)", there=True)
        text = "in front of a file's name in a task's data"
        form.inputs.str("address", label="Address of the pictures", default=LOCAL_FILES, description=text)
        form.switch("finished", "As annotations", "instead of predictions")
        form.path("path", "File to write")
        if form.is_video:
            form.refuse(FIELD, "videos travel as YouTube-VIS files: export these")

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        config = _read_config(Path(value(ctx, "config", "")))
        options = {"address": value(ctx, "address", LOCAL_FILES), "finished": bool(ctx.params.get("finished"))}
        return to_label_studio(
            ctx.target_view(), value(ctx, FIELD, ""), Path(value(ctx, "path", "")), config, **options, stop=stop
        )


class FromLabelStudio(_Files):
    """Annotations of Label Studio's JSON export."""

    name_, title = "from_label_studio", "Import from Label Studio"
    about = "Annotations of a JSON export become labels, masks exact, track ids kept"
    icon = "move_to_inbox"

    def form(self, form: Form) -> None:
        form.path("path", "JSON export", there=True)
        form.path("root", "Folder of the pictures", folder=True, there=True)
        form.new_field(FIELD, "final", "Field for the labels", "is replaced on the samples of annotated tasks")
        if form.is_video:
            form.refuse(FIELD, "videos travel as YouTube-VIS files: import these")

    def shown(self, ctx: Any) -> list[str]:
        return [value(ctx, FIELD, "final")]

    def steps(self, ctx: Any, stop: Stop) -> Iterator[Progress]:
        path, field, root = (value(ctx, name, default) for name, default in (("path", ""), (FIELD, "final"), ("root", "")))
        return from_label_studio(ctx.dataset, Path(path), field, root=root, stop=stop)


def _read_config(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_CONFIG).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(f"the labeling config {path} cannot be read: {error}", code="option.label_config") from error
