"""The files that are deployed: what they name exists, and they ask for what the server takes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from locara_label import settings
from locara_label.cli.app import app
from locara_label.cli.serve import serve
from locara_label.settings import Server, Settings
from tests.answering import answering
from tests.hosts.label_studio.real_label_studio import RealLabelStudio, running

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "plugins" / "label_studio"
DOCKERFILES = {"cpu": PLUGIN / "Dockerfile.cpu", "gpu": PLUGIN / "Dockerfile.cuda"}
PAGES = [PLUGIN / "README.md", ROOT / "docs" / "label-studio-ml.md"]
COMPOSE: dict[str, Any] = yaml.safe_load((PLUGIN / "compose.yaml").read_text("utf-8"))
GIVEN = {"LOCARA_BASIC_AUTH": "labels:secret", "LOCARA_LABEL_STUDIO_API_KEY": "key", "LOCARA_PRELABEL_MODEL": "mini"}


def interpolated(text: str, given: dict[str, str]) -> str:
    """As Compose does it: ${NAME:-default}, and ${NAME:?why} for what must be there."""

    def value(match: re.Match[str]) -> str:
        found = given.get(match[1], "")
        assert found or match[2] == ":-", f"{match[1]}: {match[3]}"
        return found or match[3]

    return re.sub(r"\$\{(\w+)(:-|:\?)([^}]*)\}", value, text)


def instructions(path: Path) -> list[tuple[str, str]]:
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def one(path: Path, word: str) -> str:
    return [rest for name, rest in instructions(path) if name == word][-1]


def test_every_container_of_the_compose_file_is_built_from_what_is_here() -> None:
    overlay = yaml.safe_load((PLUGIN / "compose.cuda.yaml").read_text("utf-8"))
    build = COMPOSE["services"]["locara-label"]["build"]
    context = (PLUGIN / build["context"]).resolve()
    assert context == ROOT
    for part in (build, overlay["services"]["locara-label"]["build"]):
        assert (context / part["dockerfile"]) in DOCKERFILES.values()
    assert overlay["services"].keys() <= COMPOSE["services"].keys()
    mounted = {volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service["volumes"]}
    assert mounted == set(COMPOSE["volumes"])


def test_the_server_of_the_compose_file_takes_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    service = COMPOSE["services"]["locara-label"]
    for name, text in service["environment"].items():
        monkeypatch.setenv(name, interpolated(text, GIVEN))
    monkeypatch.chdir(tmp_path)
    command = json.loads(one(DOCKERFILES["cpu"], "CMD"))
    flags = serve.make_context("serve", command[1:]).params
    assert (flags["host"], flags["port"], flags["log_json"]) == ("0.0.0.0", 9090, True)
    assert (flags["basic_auth"], flags["api_key"]) == ("labels:secret", "key")
    assert flags["label_studio_url"] == "http://label-studio:8080"
    assert "label-studio" in COMPOSE["services"]

    read = settings.load().server
    assert (read.names, read.model, read.prelabel_model) == (("locara-label",), None, "mini")
    assert service["read_only"] is True
    assert (service["tmpfs"], service["volumes"]) == (["/tmp"], ["locara-cache:/cache"])


def test_the_compose_file_asks_for_a_password() -> None:
    with pytest.raises(AssertionError, match="user:password"):
        interpolated(COMPOSE["services"]["locara-label"]["environment"]["LOCARA_BASIC_AUTH"], {})


@pytest.mark.parametrize("extra", DOCKERFILES)
def test_dockerfiles_copy_and_install_what_there_is(extra: str) -> None:
    path = DOCKERFILES[extra]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = re.search(r'"\.\[([\w,-]+)\]"', path.read_text("utf-8"))
    assert named
    assert set(named[1].split(",")) == {extra, "label-studio", "postgres", "video"} <= project["optional-dependencies"].keys()
    assert one(path, "ENTRYPOINT") == '["locara-label"]'
    assert project["scripts"].keys() == {"locara-label"}
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    assert sent == copied(path)
    assert all((ROOT / name).exists() for name in sent)


def copied(path: Path) -> set[str]:
    taken = [rest.split()[:-1] for word, rest in instructions(path) if word == "COPY" and not rest.startswith("--from")]
    return {name for names in taken for name in names}


@pytest.mark.parametrize("extra", DOCKERFILES)
def test_dockerfiles_run_as_nobody_and_ask_for_health(extra: str) -> None:
    path = DOCKERFILES[extra]
    assert one(path, "USER") == "10001"
    assert one(path, "VOLUME") == "/cache"
    assert "LOCARA_CACHE_DIR=/cache" in path.read_text("utf-8")
    assert ("LOCARA_DEVICE=cuda" in path.read_text("utf-8")) is (extra == "gpu")
    python, *words = json.loads(one(path, "HEALTHCHECK").partition("CMD ")[2])
    assert python == "python"
    for handler, code in ((Health, 0), (Unwell, 1)):
        with answering(handler) as port:
            asked = [word.replace(":9090/", f":{port}/") for word in words]
            assert asked != words
            assert subprocess.run([sys.executable, *asked], capture_output=True, check=False).returncode == code


class Health(BaseHTTPRequestHandler):
    """Answers /health with a status, and nothing else."""

    status = 200

    def do_GET(self) -> None:
        self._answer(self.status if self.path == "/health" else 404, {})

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Unwell(Health):
    status = 503


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_paths_flags_and_settings_that_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    made = set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE))
    assert made
    assert made <= targets
    for path in re.findall(r"\b(?:plugins|docs|locara_label)/[\w/.-]+\w", text):
        assert (ROOT / path).is_file(), path
    variables = {f"LOCARA_{name}".upper() for name in Settings.model_fields}
    variables |= {f"LOCARA_SERVER__{name}".upper() for name in Server.model_fields}
    variables |= {param.envvar for param in serve.params if isinstance(param.envvar, str)}
    variables |= {"LOCARA_MODEL", "LOCARA_TEXT_MODEL", "LOCARA_PRELABEL_MODEL", "LOCARA_LABEL_STUDIO_ML"}
    assert set(re.findall(r"\bLOCARA_\w+", text)) <= variables
    commands = dict(every_command(app, ()))
    assert set(re.findall(r"locara-label ((?:models )?[a-z]+)[ `]", text)) <= commands.keys()
    assert set(re.findall(r"`(--[a-z-]+)`", text)) <= set().union(*commands.values())


def every_command(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, set[str]]]:
    """Each command with its options."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*path, name)), {option for param in command.params for option in param.opts}
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


@pytest.mark.slow
def test_what_the_dockerfiles_copy_builds(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in copied(DOCKERFILES["cpu"]):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, source / name)
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("locara_label-*.whl"))


@pytest.mark.slow
@pytest.mark.label_studio
def test_label_studio_calls_private_networks_of_docker_and_nothing_else(label_studio: RealLabelStudio, tmp_path: Path) -> None:
    """The list of the compose file counts and no other: with loopback in it a backend here is refused, without it called."""
    told = COMPOSE["services"]["label-studio"]["environment"]
    banned = told["USER_ADDITIONAL_BANNED_SUBNETS"].split(",")
    assert not {"172.16.0.0/12", "192.168.0.0/16"}.intersection(banned)
    assert {"127.0.0.0/8", "169.254.0.0/16", "10.0.0.0/8", "fc00::/7"} <= set(banned)
    config = '<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i"><Label value="A"/></BrushLabels></View>'
    for number, networks in enumerate((banned, [network for network in banned if network != "127.0.0.0/8"])):
        variables = {**told, "USER_ADDITIONAL_BANNED_SUBNETS": ",".join(networks)}
        variables.pop("LABEL_STUDIO_HOST")
        folder = tmp_path / str(number)
        folder.mkdir()
        with running(label_studio.program, folder, variables) as found, answering(SetupOnly) as port:
            project = found.project(config)
            if networks == banned:
                with pytest.raises(AssertionError, match=r"403.*127\.0\.0\.0/8"):
                    found.connect(project, f"http://127.0.0.1:{port}")
            else:
                assert found.connect(project, f"http://127.0.0.1:{port}")


class SetupOnly(Health):
    """The least that Label Studio connects to."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(200, {"model_version": "1"})
