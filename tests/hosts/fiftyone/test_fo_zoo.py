"""Our models in FiftyOne's zoo: from a folder, and from an address."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.zoo as foz
import pytest

from locara_label.errors import LicenceNotAccepted
from locara_label.hosts.fiftyone import install, zoo
from locara_label.hosts.fiftyone.install import Folders
from tests.answering import answering
from tests.hosts.fiftyone.scenes_dataset import add_scenes

SOURCE = install.source() / "zoo"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of the source as a zip."""
    shutil.make_archive(str(tmp_path / "web" / "locara"), "zip", SOURCE)
    handler = functools.partial(_Quiet, directory=str(tmp_path / "web"))
    with answering(handler) as port:
        yield f"http://127.0.0.1:{port}/locara.zip"


@pytest.fixture(autouse=True)
def empty_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fo.config, "model_zoo_dir", str(tmp_path / "zoo"))
    return tmp_path / "zoo"


def test_the_manifest_is_that_of_the_catalogue() -> None:
    assert json.loads((SOURCE / "manifest.json").read_text("utf-8")) == zoo.manifest()


def test_models_from_a_folder(dataset: Any, tmp_path: Path, empty_zoo: Path) -> None:
    install.install(Folders(tmp_path / "plugins", empty_zoo))
    assert "locara/sam2.1-hiera-tiny" in foz.list_zoo_models()
    add_scenes(dataset, tmp_path / "pictures", 1)
    dataset.apply_model(foz.load_zoo_model("locara/sam2-mini"), "masks", prompt_field="truth", skip_failures=False)
    assert dataset.count("masks.detections") == dataset.count("truth.detections")
    dataset.apply_model(foz.load_zoo_model("locara/segformer-mini", output="segmentation"), "seg", skip_failures=False)
    assert dataset.count("seg") == 1
    assert foz.load_zoo_model("locara/classic-video").media_type == "video"


def test_models_from_an_address(dataset: Any, tmp_path: Path, address: str) -> None:
    foz.register_zoo_model_source(address)
    assert address in foz.list_zoo_model_sources()
    add_scenes(dataset, tmp_path / "pictures", 1)
    words = foz.load_zoo_model("locara/grounded-sam2", prompt="circle . star . ring")
    dataset.apply_model(words, "words", skip_failures=False)
    assert dataset.count("words") == 1


def test_licences_are_honoured(tmp_path: Path, empty_zoo: Path) -> None:
    install.install(Folders(tmp_path / "plugins", empty_zoo))
    with pytest.raises(LicenceNotAccepted, match="accept-licence"):
        foz.load_zoo_model("locara/segformer-b0-finetuned-ade-512-512")
    assert not foz.is_zoo_model_downloaded("locara/segformer-b0-finetuned-ade-512-512")


def test_forms_for_operators(tmp_path: Path, empty_zoo: Path) -> None:
    install.install(Folders(tmp_path / "plugins", empty_zoo))
    names = ("locara/segformer-mini", "locara/grounded-sam2", "locara/classic-video")
    forms = [foz.get_zoo_model(name).resolve_input(None) for name in names]
    assert [sorted(form.type.properties) for form in forms] == [
        ["output", "threshold"],
        ["prompt", "threshold"],
        ["direction", "max_frames"],
    ]
    params = {"threshold": None, "output": "detections"}
    foz.get_zoo_model("locara/segformer-mini").parse_parameters(None, params)
    assert params == {"output": "detections"}
