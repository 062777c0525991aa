"""The root command. Subcommands are imported when they are called, so that `--help` stays quick."""

from __future__ import annotations

import importlib
import sys

import click

from locara_label import __version__
from locara_label.cli.output import EXIT_FAILED, EXIT_OK, EXIT_USAGE, note, report
from locara_label.errors import BadOption, LocaraError

COMMANDS = {
    "coco": ("locara_label.cli.coco", "Check COCO files."),
    "cutout": ("locara_label.cli.cutout", "Remove the background of a picture."),
    "doctor": ("locara_label.cli.doctor", "Say what is installed, what works and what is wrong."),
    "models": ("locara_label.cli.models", "List, pull, verify and remove model weights."),
    "prelabel": ("locara_label.cli.prelabel", "Pre-label a folder of pictures into a COCO data set."),
    "segment": ("locara_label.cli.segment", "Segment pictures into overlays and JSON."),
}


class Root(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
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
        return error.exit_code
    except click.exceptions.Abort:
        note("aborted")
        return EXIT_FAILED
    return code if isinstance(code, int) else EXIT_OK
