import json
from pathlib import Path

import pytest

from locara_label.cli.app import run

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

FIXTURE = Path(__file__).parents[2] / "fixtures" / "masklets" / "sav_900001_manual.json"


def convert(*words):
    return run(["convert", *map(str, words)])


def test_there_and_back(tmp_path, capsys):
    between, back = tmp_path / "y.json", tmp_path / "back.json"
    assert convert(FIXTURE, between, "--from", "sa-v", "--to", "youtube-vis") == 0
    assert capsys.readouterr().out == f"{between}: 1 videos, 3 masklets, 10 frames, 23 masks\n"
    assert convert(between, back, "--from", "youtube-vis", "--to", "sa-v") == 0
    assert back.read_bytes() == FIXTURE.read_bytes()
    assert "note: 1 video numbers [video.id]" in capsys.readouterr().out


def test_as_json(tmp_path, capsys):
    assert convert(FIXTURE, tmp_path / "mots", "--from", "sa-v", "--to", "mots", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {key: result[key] for key in ("file", "from", "to", "out", "videos", "masks", "problems")} == {
        "file": str(FIXTURE), "from": "sa-v", "to": "mots", "out": str(tmp_path / "mots"),
        "videos": 1, "masks": 23, "problems": [],
    }  # fmt: skip
    notes = {note["code"]: note["count"] for note in result["notes"]}
    assert notes["masklet.track_id"] == notes["masklet.meta"] == 3
    assert notes["video.frames"] == notes["video.meta"] == 1
    assert {path.name for path in (tmp_path / "mots").iterdir()} == {"instances_txt", "seqmap.txt", "labels.txt"}


def test_check_writes_nothing(tmp_path, capsys):
    assert convert(FIXTURE, "--from", "sa-v", "--check") == 0
    assert capsys.readouterr().out == f"{FIXTURE}: 1 videos, 3 masklets, 10 frames, 23 masks\n"
    assert convert(FIXTURE, tmp_path / "x", "--from", "sa-v", "--to", "mots", "--check", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["out"], result["videos"]) == (None, 1)
    assert "masklet.meta" in [note["code"] for note in result["notes"]]
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong(tmp_path, capsys):
    content = json.loads(FIXTURE.read_text())
    content["masklet"][2][0]["counts"] = "0"
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    assert convert(path, "--from", "sa-v", "--check") == 1
    out = capsys.readouterr().out
    assert "x.json: frame 8 object 0: runs add up to 0" in out
    assert "[mask.size]" in out
    assert convert(path, tmp_path / "y.json", "--from", "sa-v", "--to", "youtube-vis", "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "mask.size"
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_usage(tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_bytes(FIXTURE.read_bytes())
    for words in (
        (path,),
        (tmp_path / "no.json", "--from", "sa-v", "--check"),
        (path, tmp_path / "y.json", "--from", "sa-v", "--to", "avi"),
        (path, "--from", "sa-v", "--to", "mots"),
        (path, tmp_path / "y.json", "--from", "sa-v"),
        (path, path, "--from", "sa-v", "--to", "sa-v"),
        (path, tmp_path / "no" / "y.json", "--from", "sa-v", "--to", "youtube-vis"),
    ):
        assert convert(*words) == 2
    assert "OUT is IN itself" in capsys.readouterr().err
    assert path.read_bytes() == FIXTURE.read_bytes()
