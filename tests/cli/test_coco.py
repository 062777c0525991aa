import json

import numpy as np
import pytest

from locara_label.cli.app import run
from locara_label.datasets.coco import Category, CocoImage, CocoWriter
from locara_label.datasets.panoptic import PanopticWriter
from locara_label.types import Instance, Mask

# pycocotools decodes through an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

THING = Instance("cup", 0, 0.5, Mask.from_array(np.ones((3, 4), bool)))
CATEGORIES = [Category(1, "cup")]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.json"
    with CocoWriter(path, CATEGORIES) as writer:
        writer.add(CocoImage("1.jpg", 4, 3), [THING] * 3)
    return path


@pytest.fixture
def broken(path):
    path.write_text(path.read_text().replace('"area": 12', '"area": 13'))
    return path


def test_a_clean_file(path, capsys):
    assert run(["coco", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: clean\n"


def test_a_clean_file_as_json(path, capsys):
    assert run(["coco", "check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "clean": True, "problems": [], "more": False}


def test_problems_by_id(broken, capsys):
    assert run(["coco", "check", str(broken)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "annotation 1: area is 13, the mask has 12 pixels [annotation.area]"
    assert lines[3:] == [f"{broken}: 3 problems"]


def test_problems_as_json(broken, capsys):
    assert run(["coco", "check", str(broken), "--json", "--limit", "3"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["clean"], result["more"], len(result["problems"])) == (False, False, 3)
    assert result["problems"][0]["where"] == "annotation 1"
    assert result["problems"][0]["code"] == "annotation.area"


def test_the_limit(broken, capsys):
    assert run(["coco", "check", str(broken), "--limit", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[1] == f"{broken}: 1 problem and more; raise --limit to see them"


def test_pictures(path, tmp_path, capsys):
    assert run(["coco", "check", str(path), "--images", str(tmp_path)]) == 1
    assert "image 1: there is no file '1.jpg' [path.missing]" in capsys.readouterr().out


def test_panoptic(tmp_path, capsys):
    with PanopticWriter(tmp_path / "p.json", tmp_path / "masks", CATEGORIES) as writer:
        writer.add(CocoImage("1.jpg", 4, 3), [THING])
    assert run(["coco", "check", str(tmp_path / "p.json")]) == 1
    assert run(["coco", "check", str(tmp_path / "p.json"), "--masks", str(tmp_path / "masks")]) == 0
    capsys.readouterr()


def test_usage(tmp_path, capsys):
    assert run(["coco", "check", str(tmp_path / "no.json")]) == 2
    assert run(["coco", "check", str(tmp_path)]) == 2
    assert run(["coco", "check"]) == 2
    assert "Usage" in capsys.readouterr().err
