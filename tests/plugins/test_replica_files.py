"""The files of two replicas: what they name exists, the server takes its settings, nginx takes its configuration."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from locara_label import settings
from locara_label.server.app import MAX_PREDICT_BODY
from locara_label.settings import Server, Settings
from tests.plugins.test_label_studio_ml_files import COMPOSE, GIVEN, PLUGIN, ROOT, interpolated
from tests.replicas import TEMPLATE, proxying

OVERLAY: dict[str, Any] = yaml.safe_load((PLUGIN / "compose.replicas.yaml").read_text("utf-8"))
REPLICAS = ("locara-label", "locara-label-2")
SECRET = {**GIVEN, "LOCARA_POSTGRES_PASSWORD": "canary7f3a"}


@pytest.mark.parametrize("name", REPLICAS)
def test_each_replica_takes_its_settings(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = COMPOSE["services"]["locara-label"]["environment"] | OVERLAY["services"][name]["environment"]
    for variable, text in environment.items():
        monkeypatch.setenv(variable, interpolated(text, SECRET))
    monkeypatch.chdir(tmp_path)
    read = settings.load()
    assert read.masklets == "postgresql://locara:canary7f3a@postgres:5432/locara"
    assert "canary7f3a" not in repr(read)
    assert read.server.names == ("replicas",)
    # the one folder that a container may write to, and that both have
    assert COMPOSE["services"]["locara-label"]["volumes"] == ["locara-cache:/cache"]
    assert read.server.embedding_dir is not None
    assert read.server.embedding_dir.is_relative_to("/cache")
    told = OVERLAY["services"]["postgres"]["environment"]
    assert (told["POSTGRES_USER"], told["POSTGRES_DB"]) == ("locara", "locara")


def test_there_is_no_store_without_a_password() -> None:
    for service, name in (("locara-label", "LOCARA_SERVER__STORE"), ("postgres", "POSTGRES_PASSWORD")):
        with pytest.raises(AssertionError, match="password of the store"):
            interpolated(OVERLAY["services"][service]["environment"][name], {})


def test_what_services_name_is_there() -> None:
    services = COMPOSE["services"].keys() | OVERLAY["services"].keys()
    assert OVERLAY["services"]["locara-label-2"]["extends"] == {"file": "compose.yaml", "service": "locara-label"}
    for service in OVERLAY["services"].values():
        assert service.get("depends_on", {}).keys() <= services
    assert all("healthcheck" in OVERLAY["services"][name] for name in ("postgres",))
    (mounted,) = OVERLAY["services"]["replicas"]["volumes"]
    assert (PLUGIN / mounted.split(":")[0]).resolve() == TEMPLATE
    assert {volume.split(":")[0] for volume in OVERLAY["services"]["postgres"]["volumes"]} == OVERLAY["volumes"].keys()


def test_nginx_is_told_all_that_its_template_asks_for_and_nothing_else() -> None:
    told = OVERLAY["services"]["replicas"]["environment"]
    given = {name for name in told if re.match(told["NGINX_ENVSUBST_FILTER"], name)}
    assert set(re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text("utf-8"))) == given
    assert set(re.findall(r"server ([\w-]+):9090 ", told["LOCARA_REPLICAS"])) == set(REPLICAS)
    assert f"client_max_body_size {MAX_PREDICT_BODY >> 20}m;" in TEMPLATE.read_text("utf-8")


def test_nginx_takes_the_configuration(nginx: Path, tmp_path: Path) -> None:
    with proxying(nginx, tmp_path / "nginx", ["http://127.0.0.1:1", "http://127.0.0.1:2"]):
        words = [nginx, "-t", "-p", tmp_path / "nginx", "-c", tmp_path / "nginx" / "nginx.conf"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, "[warn]" in done.stderr) == (0, False), done.stderr


def test_a_task_of_label_studio_is_found_in_its_body() -> None:
    pattern = re.search(r'"~(\\"tasks.*)" \$task;', TEMPLATE.read_text("utf-8"))
    assert pattern
    found = re.compile(pattern[1].replace('\\"', '"').replace("(?<", "(?P<"))
    wire = ROOT / "tests/hosts/label_studio/wire"
    clicks = [path for path in sorted(wire.glob("[23]*.json")) if '"context"' in path.read_text("utf-8")]
    assert len(clicks) > 5
    for path in clicks:
        body = json.loads(path.read_text("utf-8"))["body"]
        for text in (json.dumps(body), json.dumps(body, separators=(",", ":"))):
            match = found.search(text)
            assert match, path.name
            assert int(match["task"]) == body["tasks"][0]["id"]


def test_the_page_names_settings_and_files_that_exist() -> None:
    text = (ROOT / "docs/replicas.md").read_text("utf-8")
    variables = {f"LOCARA_{name}".upper() for name in Settings.model_fields}
    variables |= {f"LOCARA_SERVER__{name}".upper() for name in Server.model_fields}
    variables |= {"LOCARA_BASIC_AUTH", "LOCARA_POSTGRES_PASSWORD", "LOCARA_LISTEN", "LOCARA_REPLICAS", "LOCARA_ACCESS_LOG"}
    assert set(re.findall(r"\bLOCARA_\w+", text)) <= variables
    for path in re.findall(r"\b(?:plugins|docs|locara_label|benchmarks)/[\w/.-]+\w", text):
        assert (ROOT / path).exists(), path
