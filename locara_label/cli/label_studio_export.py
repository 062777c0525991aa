"""`locara-label label-studio export`: annotations as a data set."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from locara_label.cli.label_studio_access import access_to, connection_options
from locara_label.cli.output import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, emit, json_option
from locara_label.cli.progress_bar import Bar
from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.fetch import Fetcher
    from locara_label.hosts.label_studio.config import LabelingConfig
    from locara_label.hosts.label_studio.export import Options
    from locara_label.hosts.label_studio.export_report import Report
    from locara_label.hosts.label_studio.export_tasks import Tasks
    from locara_label.hosts.label_studio.masklets import MaskletStore
    from locara_label.settings import Settings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FORMAT = click.Choice(["coco", "panoptic", "semantic", "youtube-vis", "coco-frames", "sa-v", "mots"])
_SHOWN = 20


@click.command()
@connection_options
@click.option("--project", type=click.IntRange(min=1), help="Id of the project.")
@click.option("--from-json", "json_file", type=_FILE, help="Take the tasks of this JSON export; no Label Studio is asked.")
@click.option("--config", "config_file", type=_FILE, help="With --from-json: the labeling config (XML).")
@click.option(
    "--format", "format_name", type=_FORMAT, required=True, help="coco, panoptic and semantic hold pictures, the others videos."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File of the data set, or its new folder.")
@click.option(
    "--pick", type=click.Choice(["ground-truth", "latest", "all"]), default="ground-truth", show_default=True,
    help="Annotations of a task: the newest one that is ground truth, else the newest; the newest; all.",
)  # fmt: skip
@click.option("--completed-by", multiple=True, help="Only of this annotator: id or e-mail address. May be repeated.")
@click.option("--cancelled", is_flag=True, help="Take annotations of tasks that were skipped, too.")
@click.option("--label", "labels", multiple=True, help="Only this label. May be repeated.")
@click.option("--empty/--no-empty", default=True, show_default=True, help="Write pictures without a mask; they are read for it.")
@click.option("--verify-pictures", is_flag=True, help="Read every picture and compare its size with that of its masks.")
@click.option(
    "--recompute/--no-recompute", default=True, show_default=True,
    help="Find masks of videos anew where boxes were changed or nothing is stored.",
)  # fmt: skip
@click.option("--model", help="That finds them. [default: the one that found the object, else the setting, classic]")
@click.option("--masklets", "store_file", type=_FILE, help="Store of masklets. [default: of the setting data_dir]")
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first tasks.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal only.")
@json_option
def export(url: str | None, api_key: str | None, *, progress: bool | None, as_json: bool, **options: Any) -> int:
    """Write the annotations of a project as a data set, exact to the pixel.

    What is written is read again and checked; OUT appears whole or not at all. Everything that is left out is counted. Exits
    with 3 when something that should be in the data set could not be exported; the rest is there.
    """
    from locara_label.settings import load

    settings = load()
    chosen = _options(options)
    with ExitStack() as stack, Bar("tasks", wanted=progress) as bar:
        source = _Source.of(settings, url, api_key, options, stack)
        report = source.export_videos(chosen, bar, options, stack) if chosen.is_video else source.export(chosen, bar)
    result = {"out": str(options["out"]), "format": options["format_name"], "complete": report.is_complete, **report.to_json()}
    emit(result, _lines(result, report), as_json=as_json)
    if report.is_complete:
        return EXIT_OK
    return EXIT_PARTIAL if report.pictures else EXIT_FAILED


def _options(options: dict[str, Any]) -> Options:
    from locara_label import __version__
    from locara_label.hosts.label_studio.export import Options
    from locara_label.hosts.label_studio.export_tasks import Choice

    return Options(
        options["format_name"],
        options["out"],
        Choice(options["pick"], frozenset(options["completed_by"]), options["cancelled"]),
        options["labels"],
        empty=options["empty"],
        verify=options["verify_pictures"],
        info={"description": "exported from Label Studio", "contributor": f"locara-label {__version__}"},
    )


class _Source:
    """Tasks, their labeling config, and what they refer to."""

    def __init__(
        self, tasks: Tasks, config: LabelingConfig | None, fetcher: Fetcher, settings: Settings, project: int | None
    ) -> None:
        self._tasks, self._config, self._fetcher = tasks, config, fetcher
        self._settings, self._project = settings, project

    @classmethod
    def of(cls, settings: Settings, url: str | None, api_key: str | None, options: dict[str, Any], stack: ExitStack) -> Self:
        if options["json_file"] is not None:
            return cls._of_file(settings, url, api_key, options)
        if options["project"] is None or options["config_file"] is not None:
            raise BadOption("give --project, or --from-json and --config", code="option.project")
        from locara_label.hosts.label_studio.config import parse
        from locara_label.hosts.label_studio.export_tasks import ApiTasks

        access = access_to(settings, url, api_key)
        client = stack.enter_context(access.connect())
        config = parse(client.project(options["project"]).config)
        tasks = ApiTasks(client, options["project"], options["limit"])
        return cls(tasks, config, access.fetcher(), settings, options["project"])

    @classmethod
    def _of_file(cls, settings: Settings, url: str | None, api_key: str | None, options: dict[str, Any]) -> Self:
        from locara_label.engine.granted import rules
        from locara_label.fetch import Fetcher
        from locara_label.hosts.label_studio.config import parse
        from locara_label.hosts.label_studio.export_tasks import FileTasks, check_list

        path = options["json_file"]
        if options["out"].exists() and options["out"].samefile(path):
            raise BadOption(f"OUT is the export itself, {path}", code="option.out")
        check_list(path)
        written = options["config_file"]
        config = None if written is None else parse(_text(written))
        fetcher = Fetcher(rules(settings, url, api_key))
        return cls(FileTasks(path, options["limit"]), config, fetcher, settings, options["project"])

    def export(self, chosen: Options, bar: Bar) -> Report:
        from locara_label.hosts.label_studio.export import export as run
        from locara_label.hosts.label_studio.export_media import measured
        from locara_label.images import Limits

        limits = Limits(self._settings.max_image_bytes, self._settings.max_pixels)
        return run(self._tasks, self._config, chosen, measured(self._fetcher, limits), bar.show)

    def export_videos(self, chosen: Options, bar: Bar, options: dict[str, Any], stack: ExitStack) -> Report:
        from functools import partial

        from locara_label.engine.fetched_video import FETCH_S
        from locara_label.engine.loading import load_video_model
        from locara_label.engine.tracking import DEFAULT_VIDEO_MODEL
        from locara_label.fetch import Fetcher
        from locara_label.hosts.label_studio.export import export_videos as run
        from locara_label.hosts.label_studio.export_media import opened
        from locara_label.hosts.label_studio.export_recompute import Recomputing
        from locara_label.hosts.label_studio.export_videos import Sources
        from locara_label.video.limits import DEFAULT_LIMITS

        server = self._settings.server
        rules = replace(self._fetcher.rules, max_bytes=DEFAULT_LIMITS.max_bytes, total_s=FETCH_S)
        default = server.video_model or DEFAULT_VIDEO_MODEL
        load = partial(load_video_model, settings=self._settings)
        sources = Sources(
            _store(options["store_file"], self._settings, stack),
            self._project,
            opened(Fetcher(rules)) if options["recompute"] else None,
            Recomputing(load, default, options["model"]),
            server.keyframe_tolerance,
        )
        return run(self._tasks, self._config, chosen, sources, bar.show)


def _store(path: Path | None, settings: Settings, stack: ExitStack) -> MaskletStore | None:
    """The store, None where there is no file yet: an export makes none."""
    from locara_label.hosts.label_studio.masklets import MaskletStore, is_stored

    where = path or settings.masklets
    return stack.enter_context(MaskletStore(where)) if is_stored(where) else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(f"{path} cannot be read: {error}", code="option.config") from error


def _lines(result: dict[str, Any], report: Report) -> list[str]:
    from locara_label.hosts.label_studio.export_report import CHANGED, LEFT_OUT

    what = "pictures" if result["format"] in ("coco", "panoptic", "semantic") else f"videos, {report.masklets} masklets"
    lines = [f"{result['out']}: {report.pictures} {what}, {report.masks} masks from {report.annotations} annotations"]
    lines += [f"left out: {count} {LEFT_OUT[code]} [{code}]" for code, count in result["left_out"].items()]
    lines += [f"note: {count} {CHANGED[code]} [{code}]" for code, count in result["changed"].items()]
    lines += [f"note: {note['count']} {note['what']} [{note['code']}]" for note in result["notes"]]
    lines += [f"{one.place}: error [{one.code}]: {one.message}" for one in report.examples[:_SHOWN]]
    lost = sum(report.lost.values())
    if lost > _SHOWN:
        lines.append(f"and {lost - min(lost, _SHOWN)} more; --json names {len(report.examples)} of them")
    return [*lines, *([f"{lost} things could not be exported"] if lost else [])]
