import json

import pytest

from locara_label.cli.app import run

SECRETS = {
    "LOCARA_TOKEN": "hub-secret-1",
    "LOCARA_SERVER__BASIC_AUTH": "me:auth-secret-2",
    "LOCARA_SERVER__API_KEY": "key-secret-3",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_secrets_are_masked(monkeypatch, capsys):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for words in (["config"], ["config", "--json"]):
        assert run(words) == 0
        out, err = capsys.readouterr()
        assert not any(secret.rpartition(":")[2] in out + err for secret in SECRETS.values())
        assert out.count("***") >= len(SECRETS)


def test_the_file_counts_and_the_environment_outranks_it(elsewhere, monkeypatch, capsys):
    (elsewhere / "locara.toml").write_text('[server]\nport = 9191\ncandidates = 3\n[capabilities]\nhosts = ["files.example"]\n')
    monkeypatch.setenv("LOCARA_SERVER__PORT", "9292")
    monkeypatch.setenv("LOCARA_SERVER__CANDIDATES", "1")
    assert run(["config", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(elsewhere / "locara.toml")
    server = told["settings"]["server"]
    assert (server["port"], server["candidates"], told["settings"]["capabilities"]["hosts"]) == (9292, 1, ["files.example"])
    assert run(["config"]) == 0
    out = capsys.readouterr().out
    assert "[server]" in out
    assert "port = 9292" in out


@pytest.mark.parametrize(
    "text", ["[server]\nport = 99999\n", "[server]\nprot = 1\n", "server = [", '[server]\nbasic_auth = "me"\n']
)
def test_a_wrong_file_is_told(elsewhere, text, capsys):
    (elsewhere / "locara.toml").write_text(text)
    assert run(["config", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "option.setting"
