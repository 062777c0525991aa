"""The root command. Subcommands are imported when they are called, so that `--help` stays quick."""

from __future__ import annotations

import importlib
import sys

import click

from locara_label import __version__
from locara_label.cli.output import EXIT_FAILED, EXIT_OK, EXIT_USAGE, emit, note, report
from locara_label.errors import BadOption, LocaraError

COMMANDS = {
    "coco": ("locara_label.cli.coco", "Check COCO files."),
    "config": ("locara_label.cli.config", "Show the effective settings."),
    "convert": ("locara_label.cli.convert", "Convert masklets between YouTube-VIS, SA-V, MOTS and COCO."),
    "cutout": ("locara_label.cli.cutout", "Remove the background of a picture."),
    "doctor": ("locara_label.cli.doctor", "Say what is installed, what works and what is wrong."),
    "fiftyone": ("locara_label.cli.fiftyone", "Install the plugin for FiftyOne, load results into it."),
    "label-config": ("locara_label.cli.label_config", "Print a labeling config for Label Studio."),
    "label-studio": ("locara_label.cli.label_studio", "Check a Label Studio, pre-label and export its projects."),
    "mask": ("locara_label.cli.mask", "Masks of what clicks and boxes show."),
    "models": ("locara_label.cli.models", "List, pull, verify and remove model weights."),
    "prelabel": ("locara_label.cli.prelabel", "Pre-label a folder of pictures into a COCO data set."),
    "quickstart": ("locara_label.cli.quickstart", "Start Label Studio with assistance and projects to try."),
    "segment": ("locara_label.cli.segment", "Segment pictures into overlays and JSON."),
    "serve": ("locara_label.cli.serve", "Serve masks to Label Studio and to own clients."),
    "track": ("locara_label.cli.track", "Follow objects through a video."),
    "text": ("locara_label.cli.text", "Masks of what words ask for, as a COCO data set."),
}


class Root(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(COMMANDS.items())])


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def app() -> None:
    """Segmentation assistance for people who label data."""


def run(args: list[str] | None = None) -> int:
    """Runs a command line and gives its exit code; a `LocaraError` is printed, never shown as a traceback.

    Args:
        args: what follows the program's name; None takes the process's own. `--json` among them prints errors as JSON too.
    """
    given = sys.argv[1:] if args is None else args
    as_json = "--json" in given
    try:
        code = app.main(args=given, prog_name="locara-label", standalone_mode=False)
    except BadOption as error:
        report(error, as_json=as_json)
        return EXIT_USAGE
    except LocaraError as error:
        report(error, as_json=as_json)
        return EXIT_FAILED
    except click.ClickException as error:
        error.show()
        if as_json:
            emit({"error": {"code": "usage", "message": error.format_message()}}, (), as_json=True)
        return error.exit_code
    except click.exceptions.Abort:
        note("aborted")
        return EXIT_FAILED
    return code if isinstance(code, int) else EXIT_OK
