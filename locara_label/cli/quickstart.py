"""`locara-label quickstart`: Label Studio and the assist server in one command, with projects to try."""

from __future__ import annotations

import os
import signal
import sys
import threading
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.output import EXIT_OK, MINI, emit, json_option, note
from locara_label.errors import BadOption

if TYPE_CHECKING:
    from locara_label.quickstart.start import Running, Wanted
    from locara_label.settings import Settings

_MODELS = {"model": "--model", "prelabel_model": "--prelabel-model", "text_model": "--text-model", "video_model": "--video-model"}
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PORT = click.IntRange(1, 65535)
_LOOK_S = 1.0


@click.command()
@click.option("--images", type=_FOLDER, help="Pictures to label. [default: generated scenes]")
@click.option("--video", type=_FILE, help="A video to label, mp4 or webm. [default: a generated clip]")
@click.option("--label", "labels", multiple=True, help="A label; may be repeated. [default: what the model knows]")
@click.option("--model", help="Answers clicks: a name of `locara-label models list`, mini or classic.")
@click.option("--prelabel-model", help="Fills the tasks: such a name, mini or grounded-sam2. [default: mini]")
@click.option("--text-model", help="Understands text prompts: such a name. [default: the mini one]")
@click.option("--video-model", help="Follows objects through video: such a name, or classic. [default: classic]")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="[default: quickstart in the setting data_dir]")
@click.option("--label-studio", "program", envvar="LOCARA_LABEL_STUDIO", type=click.Path(path_type=Path), help="Its program.")
@click.option("--install", is_flag=True, help="Where there is no Label Studio, install it into an environment of its own.")
@click.option("--port", type=_PORT, help="Of Label Studio. [default: 8080 if it is free]")
@click.option("--assist-port", type=_PORT, help="Of the assist server. [default: 9090 if it is free]")
@click.option("--browser/--no-browser", default=None, help="Open the projects in a browser. [default: where there is a screen]")
@click.option("--check", is_flag=True, help="Go through the whole loop, say whether it works, and stop.")
@click.option("--screenshots", type=click.Path(file_okay=False, path_type=Path), help="With --check: folder for pictures of it.")
@json_option
def quickstart(folder: Path | None, check: bool, screenshots: Path | None, *, as_json: bool, **options: Any) -> int:
    """Start Label Studio and the assist server with a picture project and a video project, all pre-labelled.

    Both listen on this machine only and report to nobody. Everything is kept in one private folder, where the next start finds
    it again. Ctrl-C stops both.
    """
    from locara_label.quickstart.folder import Folder
    from locara_label.quickstart.start import running
    from locara_label.settings import load

    if sys.platform == "win32":
        raise BadOption("quickstart needs Linux or macOS; start Label Studio and `locara-label serve`", code="option.platform")
    if screenshots is not None and not check:
        raise BadOption("--screenshots are made by --check", code="option.screenshots")
    settings = load()
    wanted = _wanted(options | {"check": check}, settings)
    if check:
        _check_browser(screenshots)
    home = Folder((folder or settings.data_dir / "quickstart").expanduser().absolute())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with running(home, wanted, settings, note) as found:
        if check:
            return _checked(found, screenshots, as_json=as_json)
        emit(_result(found), _lines(found, home.path), as_json=as_json)
        if _has_screen() if options["browser"] is None else options["browser"]:
            webbrowser.open(f"{found.url}/projects/{found.projects[0].project}/data")
        return _until_stopped(found)


def _wanted(options: dict[str, Any], settings: Settings) -> Wanted:
    from locara_label.quickstart.material import pictures, video
    from locara_label.quickstart.start import CHECK_S, PATIENCE_S, Wanted

    server = settings.server
    chosen = {flag: options[name] or getattr(server, name) for name, flag in _MODELS.items()}
    chosen["--prelabel-model"] = chosen["--prelabel-model"] or "mini"
    if options["images"] is None and options["video"] is None:
        chosen["--model"] = chosen["--model"] or "mini"
    if chosen["--prelabel-model"] == "mini" and options["images"] is not None:
        note(f"note: {MINI}for those name a --prelabel-model")
    labels = options["labels"]
    return Wanted(
        (pictures(options["images"], labels, chosen["--prelabel-model"]), video(options["video"], labels)),
        options["program"],
        options["port"],
        options["assist_port"],
        {flag: name for flag, name in chosen.items() if name},
        options["install"],
        CHECK_S if options["check"] else PATIENCE_S,
    )


def _check_browser(screenshots: Path | None) -> None:
    from locara_label.quickstart.looking import browser

    if screenshots is not None and (reason := browser()) is not None:
        raise BadOption(f"no screenshots can be made: {reason}", code="option.screenshots")


def _checked(found: Running, screenshots: Path | None, *, as_json: bool) -> int:
    from locara_label.quickstart.checking import check_pictures, check_video
    from locara_label.quickstart.looking import browser, look

    checks = [(check_pictures if one.material.kind == "image" else check_video)(found.client, one) for one in found.projects]
    reason = browser()
    shown = [(ready, one.shown) for ready, one in zip(found.projects, checks, strict=True) if one.shown is not None]
    shots = [] if reason else look(found.url, found.kept, shown, screenshots)
    seen = f"not looked at in the editor: {reason}" if reason else "the editor shows them"
    lines = [
        f"ok: {one.title}: {one.tasks} tasks, {one.empty} of them without a mask; {one.masks} masks in predictions, "
        f"{one.answered} in the answer to a prompt"
        for one in checks
    ]
    result = {
        "ok": True,
        "projects": [asdict(one) for one in checks],
        "editor": not reason,
        "screenshots": [str(one) for one in shots],
    }
    emit(result, [*lines, seen, *map(str, shots)], as_json=as_json)
    return EXIT_OK


def _result(found: Running) -> dict[str, Any]:
    projects = [{"project": one.project, "title": one.material.title, "url": _url(found, one.project)} for one in found.projects]
    login = {"email": found.kept.email, "password": found.kept.password}
    return {"url": found.url, "assist_url": found.assist_url, **login, "projects": projects, "without_prediction": found.missing}


def _url(found: Running, project: int) -> str:
    return f"{found.url}/projects/{project}/data"


def _lines(found: Running, folder: Path) -> list[str]:
    shown = [f"  {_url(found, one.project)}   {one.material.title}" for one in found.projects]
    return [
        "",
        "Label Studio runs:",
        *shown,
        f"log in as {found.kept.email} with the password {found.kept.password}",
        f"everything is kept in {folder}; the assist server is {found.assist_url}",
        "Ctrl-C stops both",
    ]


def _has_screen() -> bool:
    shown = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shown) and sys.stdout.isatty()


def _until_stopped(found: Running) -> int:
    """Waits for Ctrl-C, SIGTERM or the end of one of the programs."""
    never = threading.Event()
    try:
        while not never.wait(_LOOK_S):
            found.check()
    except KeyboardInterrupt:
        note("stopping")
    return EXIT_OK
