from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from locara_label.errors import BadOption
from locara_label.settings import DEFAULT_ENDPOINT, load


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith(("LOCARA_", "HF_")):
            monkeypatch.delenv(name)


def test_defaults(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = load()
    assert settings.cache_dir == tmp_path / "locara-label"
    assert settings.endpoint == DEFAULT_ENDPOINT
    assert settings.mirrors == ()
    assert not settings.offline
    assert settings.token is None
    assert (settings.device, settings.threads, settings.deadline_s) == ("auto", 0, None)
    assert (settings.max_image_bytes, settings.max_pixels) == (64 << 20, 89_000_000)


@pytest.mark.skipif(sys.platform != "linux", reason="the place differs")
def test_the_cache_of_the_home_folder(monkeypatch, tmp_path: Path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load().cache_dir == tmp_path / ".cache" / "locara-label"
    monkeypatch.setenv("LOCARA_CACHE_DIR", "~/weights")
    assert load().cache_dir == tmp_path / "weights"


@pytest.mark.skipif(sys.platform != "linux", reason="the place differs")
def test_where_work_is_kept(monkeypatch, tmp_path: Path):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load().data_dir == tmp_path / ".local" / "share" / "locara-label"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "kept"))
    assert load().masklets == tmp_path / "kept" / "locara-label" / "masklets.sqlite3"
    monkeypatch.setenv("LOCARA_DATA_DIR", "~/work")
    assert load().masklets == tmp_path / "work" / "masklets.sqlite3"


def test_the_environment_and_arguments(monkeypatch):
    monkeypatch.setenv("LOCARA_ENDPOINT", "https://hub.example/")
    monkeypatch.setenv("LOCARA_MIRRORS", "https://one.example, http://two.example:8080/hub/")
    monkeypatch.setenv("LOCARA_THREADS", "3")
    monkeypatch.setenv("LOCARA_DEADLINE_S", "")
    settings = load(device="cpu")
    assert settings.endpoint == "https://hub.example"
    assert settings.mirrors == ("https://one.example", "http://two.example:8080/hub")
    assert (settings.threads, settings.device, settings.deadline_s) == (3, "cpu", None)
    assert load(threads=5).threads == 5


@pytest.mark.parametrize(
    ("names", "offline"),
    [
        ({"LOCARA_OFFLINE": "1"}, True),
        ({"HF_HUB_OFFLINE": "1"}, True),
        ({"LOCARA_OFFLINE": "0", "HF_HUB_OFFLINE": "1"}, False),
        ({"HF_HUB_OFFLINE": ""}, False),
    ],
)
def test_the_offline_switch(monkeypatch, names: dict[str, str], offline: bool):
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert load().offline is offline
    assert load().store().hub.offline is offline
    assert load(offline=True).offline


def test_a_token_is_never_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary")
    settings = load()
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump()} {settings.store().hub!r}"
    assert settings.store().hub.token == "canary"
    monkeypatch.setenv("LOCARA_TOKEN", "ours")
    assert load().store().hub.token == "ours"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCARA_THREADS", "-1"),
        ("LOCARA_DEVICE", "tpu"),
        ("LOCARA_ENDPOINT", "hub.example"),
        ("LOCARA_ENDPOINT", "https://user:canary@hub.example"),
        ("LOCARA_MIRRORS", "ftp://hub.example"),
        ("LOCARA_DEADLINE_S", "nan"),
        ("LOCARA_MAX_PIXELS", "0"),
        ("LOCARA_OFFLINE", "perhaps"),
    ],
)
def test_a_wrong_value_names_its_setting(monkeypatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(BadOption) as failure:
        load()
    assert failure.value.code == "option.setting"
    assert name.removeprefix("LOCARA_").lower() in failure.value.message.lower()
    assert "canary" not in failure.value.message


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        load().threads = 4


def test_importing_the_package_leaves_pydantic_and_http_alone():
    code = (
        "import sys, locara_label, locara_label.weights.store; print({'pydantic', 'httpx2', 'tqdm', 'filelock'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_arguments_outrank_the_environment_and_that_the_file(in_folder, monkeypatch) -> None:
    (in_folder / "locara.toml").write_text('threads = 3\n[server]\nport = 1\nwaiting = 5\nhost = "::1"\n')
    monkeypatch.setenv("LOCARA_SERVER__PORT", "2")
    monkeypatch.setenv("LOCARA_SERVER__WAITING", "6")
    found = load(server={"port": 3})
    assert (found.threads, found.server.port, found.server.waiting, found.server.host) == (3, 3, 6, "::1")


def test_capabilities_grant_nothing_by_default(in_folder) -> None:
    granted = load().capabilities
    assert (granted.folders, granted.hosts, granted.models) == ((), (), ())


def test_capabilities_come_from_the_file(in_folder) -> None:
    (in_folder / "locara.toml").write_text('[capabilities]\nfolders = ["data"]\nhosts = ["pictures.example"]\nmodels = ["*"]\n')
    granted = load().capabilities
    assert (granted.folders, granted.hosts, granted.models) == ((in_folder / "data",), ("pictures.example",), ("*",))


@pytest.mark.parametrize(
    "text",
    ["threads = ", "unknown = 1", "[server]\nport = 70000", "[server]\nunknown = 1", "[capabilities]\nfolder = 'x'",
     "[server]\nbasic_auth = 'alone'", "[server]\nlabel_studio_url = 'ftp://x'"],
)  # fmt: skip
def test_a_wrong_file_is_one_clear_error(in_folder, text: str) -> None:
    (in_folder / "locara.toml").write_text(text)
    with pytest.raises(BadOption) as caught:
        load()
    assert caught.value.code == "option.setting"


def test_a_named_file_must_be_there(in_folder, monkeypatch) -> None:
    monkeypatch.setenv("LOCARA_CONFIG", str(in_folder / "other.toml"))
    with pytest.raises(BadOption, match="other"):
        load()


def test_secrets_of_the_server_are_not_shown(in_folder) -> None:
    found = load(server={"basic_auth": "me:canary-1", "api_key": "canary-2"})
    assert "canary" not in repr(found) + str(found) + found.model_dump_json()
    with pytest.raises(BadOption) as caught:
        load(server={"basic_auth": "canary"})
    assert "canary" not in str(caught.value)
