import json

import click
import pytest

from locara_label import __version__, errors
from locara_label.cli import app as application
from locara_label.cli.app import COMMANDS, app, run


@pytest.fixture
def failing(monkeypatch):
    """Puts a command `coco` in place that raises what it is given."""

    def install(error):
        @click.command()
        @click.option("--json", "as_json", is_flag=True)
        def command(as_json):
            raise error

        monkeypatch.setattr(application.importlib, "import_module", lambda name: type("Module", (), {"coco": command}))

    return install


def test_help_lists_every_command(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}  " in out for name in COMMANDS)
    assert all(text in out for _, text in COMMANDS.values())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name, capsys):
    assert run([name, "--help"]) == 0
    assert f"Usage: locara-label {name}" in capsys.readouterr().out
    assert app.get_command(click.Context(app), name).name == name


def test_version(capsys):
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("args", [["dance"], ["doctor", "--dance"], ["segment"], ["cutout", "a.png"]])
def test_wrong_usage(args, capsys):
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage:" in err


def test_wrong_usage_as_json(capsys):
    assert run(["doctor", "--json", "--dance"]) == 2
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["code"] == "usage"
    assert "--dance" in error["message"]
    assert "Usage:" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.DownloadFailed("no way", code="download.offline"), 1), (errors.BadOption("no way", code="option.range"), 2)],
)
def test_an_error_is_a_line_with_its_code(failing, capsys, error, code):
    failing(error)
    assert run(["coco"]) == code
    assert capsys.readouterr() == ("", f"error [{error.code}]: no way\n")


def test_an_error_for_machines(failing, capsys):
    failing(errors.BadMask("no way"))
    assert run(["coco", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"code": "mask.bad", "message": "no way"}}
    assert err == "error [mask.bad]: no way\n"


def test_the_processs_own_arguments(failing, capsys, monkeypatch):
    failing(errors.BadMask("no way"))
    monkeypatch.setattr(application.sys, "argv", ["locara-label", "coco", "--json"])
    assert run() == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "mask.bad"


def test_abort(failing, capsys):
    failing(KeyboardInterrupt())
    assert run(["coco"]) == 1
    assert "aborted" in capsys.readouterr().err


def test_a_name_that_is_not_unicode(failing, capsys):
    failing(errors.BadImage("\udcff.png is bad"))
    assert run(["coco", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "\udcff.png is bad"
