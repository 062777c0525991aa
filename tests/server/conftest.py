from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from running import Client, serving
from session_clips import clips, held, own_temporary_files, serve
from task_files import Files, serving_files

from fixtures.scenes import EVALUATION_SEED, Scene, make_scene
from locara_label import images
from locara_label.engine.loading import load
from locara_label.models.classic import Classic
from locara_label.server.models import Models
from locara_label.server.service import Service
from locara_label.settings import load as load_settings

__all__ = ["clips", "held", "own_temporary_files", "serve"]
TOKEN = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCARA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCARA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def scene() -> Scene:
    return make_scene(EVALUATION_SEED + 1, (480, 640))


@pytest.fixture(scope="session")
def scene_png(scene: Scene) -> bytes:
    return images.encode_png(scene.image)


@pytest.fixture
def files(scene_png: bytes) -> Iterator[Files]:
    with serving_files() as files:
        files.content["/data/upload/1/scene.png"] = scene_png
        yield files


@pytest.fixture(scope="session")
def mini():
    return load("mini")


@pytest.fixture
def start(files: Files, mini) -> Iterator[Callable[..., Client]]:
    """Starts servers with settings; `prelabel=False` for one that only answers clicks."""
    with ExitStack() as stack:

        def started(
            *,
            prelabel: Any = True,
            prompt_model: Any = None,
            text_model: Any = None,
            load_video: Any = None,
            capabilities: Any = None,
            **server: Any,
        ) -> Client:
            values = {"label_studio_url": files.url, "api_key": TOKEN, **server}
            settings = load_settings(server=values, capabilities=capabilities or {})
            chosen = mini if prelabel is True else prelabel or None
            models = Models(
                prompt_model or Classic(), chosen, text_model, load=lambda name: (None, load(name)), load_video=load_video
            )
            service = Service(settings, models)
            client = stack.enter_context(serving(service))
            object.__setattr__(client, "service", service)
            return client

        yield started


@pytest.fixture
def config(mini) -> str:
    """Brush masks, prompts of all kinds, a text area; the labels are the shapes of the scenes."""
    labels = "".join(f'<Label value="{label.name}"/>' for label in mini.labels if not label.is_stuff)
    return (
        '<View><Image name="image" value="$image" zoom="true"/>'
        f'<BrushLabels name="brush" toName="image" smart="false">{labels}</BrushLabels>'
        f'<KeyPointLabels name="kp" toName="image" smart="true" smartOnly="true">{labels}</KeyPointLabels>'
        f'<RectangleLabels name="rect" toName="image" smart="true" smartOnly="true">{labels}</RectangleLabels>'
        '<TextArea name="prompt" toName="image" smart="true" editable="true" rows="1"/></View>'
    )
