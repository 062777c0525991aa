import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from locara_label.batch.worker import ModelSource
from locara_label.cli import prelabel as command
from locara_label.cli.app import run
from locara_label.datasets import check
from tests.batch.shades_model import POISON, Shades, write_pictures
from tests.faults.batch_kill import write_scenes

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pics", 20)


@pytest.fixture
def shades(monkeypatch):
    """A quick model in place of the one that the options name."""
    model = Shades()
    monkeypatch.setattr(command, "_model_source", lambda options, settings: ModelSource(lambda: model))
    return model


@pytest.fixture
def prelabel(pictures, tmp_path, call):
    return lambda *options, source=pictures: call("prelabel", source, "--out", tmp_path / "out", *options)


@pytest.mark.usefixtures("shades")
def test_a_run_for_people(prelabel, tmp_path):
    code, out, err = prelabel()
    assert code == 0
    assert out.startswith(f"20 pictures, 60 instances by mask2former-mini: {tmp_path / 'out' / 'coco.json'}\n20 pictures in ")
    assert "trained on generated scenes" in err
    assert "models pull" in err
    assert "pictures/s" not in err
    assert not list(check.problems(tmp_path / "out" / "coco.json", tmp_path / "pics"))


@pytest.mark.usefixtures("shades")
def test_a_run_for_machines(prelabel, tmp_path):
    code, out, _ = prelabel("--json", "--format", "semantic", "--format", "coco", "--sheet", tmp_path / "sheet.png")
    result = json.loads(out)
    assert code == 0
    keys = ("complete", "pictures", "done", "ran", "labelled", "failed", "instances", "on_sheet")
    assert {key: result[key] for key in keys} == {
        "complete": True, "pictures": 20, "done": 20, "ran": 20, "labelled": 20, "failed": 0, "instances": 60, "on_sheet": 16,
    }  # fmt: skip
    assert all(Path(name).exists() for name in result["files"])
    assert len(result["files"]) == 3


@pytest.mark.usefixtures("shades")
def test_progress_has_rate_and_time_left(prelabel):
    _, _, err = prelabel("--progress")
    assert "20/20" in err
    assert "pictures/s" in err


def test_limit(prelabel, shades):
    assert prelabel("--limit", 3)[0] == 0
    assert shades.calls == 3


def test_the_second_run_has_nothing_to_do(prelabel, shades):
    prelabel()
    code, out, _ = prelabel("--json")
    assert code == 0
    assert (json.loads(out)["ran"], json.loads(out)["pictures_per_s"], shades.calls) == (0, None, 20)


@pytest.mark.usefixtures("shades")
def test_another_plan_and_new(prelabel):
    prelabel()
    code, out, err = prelabel("--threshold", "0.6", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "batch.plan_changed" if out else "batch.plan_changed" in err
    assert "(threshold: the default before, 0.6 now); use --new" in err
    assert prelabel("--threshold", "0.6", "--new")[0] == 0


@pytest.mark.usefixtures("shades")
def test_one_bad_picture_of_many(prelabel, pictures):
    write_pictures(pictures, 1000, marks={123: POISON})
    code, out, _ = prelabel()
    assert code == 3
    assert "999 pictures" in out
    assert "p123.png: error [run.not_finite]: poisoned" in out
    assert "1 pictures failed" in out


@pytest.mark.usefixtures("shades")
def test_nothing_but_bad_pictures_is_a_failure(prelabel, pictures):
    write_pictures(pictures, 20, marks=dict.fromkeys(range(20), POISON))
    assert prelabel()[0] == 1
    code, _, err = prelabel("--new", "--max-errors", "3")
    assert code == 1
    assert "batch.too_many_errors" in err


@pytest.mark.usefixtures("shades")
def test_a_label_map(prelabel, tmp_path):
    (tmp_path / "map.toml").write_text('[labels]\nspot = "stain"\n')
    code, out, _ = prelabel("--labels", tmp_path / "map.toml")
    assert code == 0
    assert "40 instances of labels that the label map leaves out were dropped" in out
    assert [row["name"] for row in json.loads((tmp_path / "out" / "coco.json").read_text())["categories"]] == ["stain"]


@pytest.mark.usefixtures("shades")
def test_a_wrong_label_map_is_wrong_usage(prelabel, tmp_path):
    (tmp_path / "map.toml").write_text('[labels]\nspots = "stain"\n')
    code, _, err = prelabel("--labels", tmp_path / "map.toml")
    assert code == 2
    assert "did you mean 'spot'?" in err


@pytest.mark.usefixtures("shades")
def test_a_list_on_standard_input(prelabel, pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    monkeypatch.setattr(sys, "stdin", io.StringIO("p001.png\np002.png\n"))
    code, out, _ = prelabel("--json", source="-")
    assert (code, json.loads(out)["pictures"]) == (0, 2)


@pytest.mark.parametrize(
    "options",
    [
        ["--threshold", "2"],
        ["--format", "yolo"],
        ["--limit", "0"],
        ["--sheet", "nowhere/sheet.png"],
        ["--sheet", "sheet.jpg"],
        ["--model", "mediapipe_selfie_segmentation"],
        ["--model", "segformer-mini", "--task", "panoptic"],
    ],
)
def test_wrong_usage(prelabel, options):
    assert prelabel(*options)[0] == 2


def test_the_target_is_no_file(pictures, capsys):
    assert run(["prelabel", str(pictures), "--out", str(pictures / "p001.png")]) == 2
    assert "error [option.out]: --out names a folder" in capsys.readouterr().err


def test_no_pictures(prelabel, tmp_path):
    (tmp_path / "empty").mkdir()
    assert prelabel(source=tmp_path / "empty")[0] == 2
    assert prelabel(source=tmp_path / "none")[0] == 2


def test_an_unknown_model_and_one_that_is_not_here(prelabel, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))
    assert prelabel("--model", "segformer-b9")[0] == 1
    code, _, err = prelabel("--model", "segformer-b0-finetuned-ade-512-512")
    assert code == 1
    assert "models pull" in err


def test_the_shipped_model(tmp_path):
    pictures = write_scenes(tmp_path / "pics", 6)
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    line = [sys.executable, "-c", "from locara_label.cli import main; main()", "prelabel", str(pictures), "--out", str(out)]
    done = subprocess.run(
        [*line, "--task", "semantic", "--sheet", str(sheet), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    result = json.loads(done.stdout)
    assert (result["model"], result["labelled"], result["failed"]) == ("segformer-mini", 5, 1)
    assert not list(check.problems(out / "coco.json", pictures))
    assert json.loads((out / "failures.json").read_text())["failures"][0]["file_name"] == "0003.jpg"
    assert sheet.stat().st_size > 1000


def test_where_the_model_comes_from(monkeypatch):
    seen = []
    monkeypatch.setattr("locara_label.engine.loading.load", lambda *args, **options: seen.append((args, options)) or Shades())
    options = {"model": "mini", "weights": None, "device": "cpu", "task": "semantic"}
    assert isinstance(command._model_source(options, "settings").get(), Shades)
    assert seen == [(("mini", None, "cpu"), {"task": "semantic", "settings": "settings", "at_a_time": 2})]
