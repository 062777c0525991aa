"""Masklets whose models are in a running `locara-label serve`: as they are where the models are here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pytest

from locara_label.errors import RunError
from locara_label.hosts.fiftyone import install
from locara_label.hosts.fiftyone import propagate as propagating
from locara_label.hosts.fiftyone.install import Folders
from locara_label.hosts.fiftyone.labels import Region, to_detection
from locara_label.hosts.fiftyone.prelabel_video import prelabel_video
from locara_label.hosts.fiftyone.progress import summed
from locara_label.hosts.fiftyone.propagate import propagate
from locara_label.hosts.fiftyone.remote import Follow, segmenter
from locara_label.remote import Server, server_address
from locara_label.runtime.session import Stop
from locara_label.types import Mask
from tests.cli.served import Served, serve
from tests.hosts.fiftyone.scenes_dataset import SIZE, add_clip, bad_picture, masks_of, regions, stop_after

FRAMES = 8
GRANTED = '["mini"]'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("serve"), LOCARA_CAPABILITIES__MODELS=GRANTED) as found:
        yield found


def client_of(served: Served) -> Server:
    address = server_address(served.url)
    assert address is not None
    return Server(address)


@pytest.fixture(scope="module")
def server(served: Served) -> Iterator[Server]:
    client = client_of(served)
    yield client
    client.close()


def sessions(served: Served) -> int:
    return int(served.get("/ready")[1]["video_sessions"])


@pytest.fixture
def clip(dataset: Any, tmp_path: Path) -> tuple[Any, list[dict[str, Any]]]:
    return dataset, add_clip(dataset, tmp_path / "clips", frames=FRAMES)


def assert_same(sample: Any, one: str, other: str) -> None:
    here, there = regions(sample, one), regions(sample, other)
    assert here
    assert here.keys() == there.keys()
    for key, region in here.items():
        found = there[key]
        assert (found.mask, found.label) == (region.mask, region.label)
        assert (found.score, found.predicted_iou) == pytest.approx((region.score, region.predicted_iou), abs=1e-6)
        assert found.attributes.keys() == region.attributes.keys()
        assert all(np.array_equal(found.attributes[name], value) for name, value in region.attributes.items())
    assert links(here) == links(there)


def links(found: dict[tuple[int, int | None], Region]) -> int:
    """How many instances there are; each is one index, on all frames."""
    pairs = {(index, region.instance) for (_, index), region in found.items()}
    assert len(pairs) == len({index for index, _ in pairs}) == len({instance for _, instance in pairs})
    return len(pairs)


@pytest.mark.parametrize("model", ["classic", "mini"])
def test_masklets_are_the_same(clip: tuple[Any, list[dict[str, Any]]], served: Served, server: Server, model: str) -> None:
    """Also after a correction on a later frame."""
    dataset, truth = clip
    follow = Follow(server, model)
    summed(propagate(dataset, "boxes", "here", model=model, pointers=True))
    steps = list(propagate(dataset, "boxes", "there", model=follow, pointers=True))
    assert [step.frames for step in steps] == [*((number, FRAMES) for number in range(1, FRAMES + 1)), None]
    sample = dataset.first()
    assert_same(sample, "here", "there")
    assert ("embedding" in next(iter(regions(sample, "there").values())).attributes) is (model == "mini")
    whole = np.zeros(SIZE, bool)
    whole[20:60, 30:90] = True
    right = Region("corrected", Mask.from_array(whole), index=truth[0]["id"] + 1, attributes={"keyframe": True})
    for field in ("here", "there"):
        kept = [one for one in sample.frames[5][field].detections if one.index != right.index]
        sample.frames[5][field] = fo.Detections(detections=[*kept, to_detection(right)])
    sample.save()
    for field, model_ in (("here", model), ("there", follow)):
        summed(propagate(dataset, field, field, model=model_, direction="forward", start=5, max_frames=3))
    sample = dataset.first()
    assert regions(sample, "there")[5, right.index].mask.iou(right.mask) > 0.9
    assert_same(sample, "here", "there")
    assert sessions(served) == 0


def test_the_video_need_not_be_known_here(clip: tuple[Any, list[dict[str, Any]]], server: Server) -> None:
    dataset, _ = clip
    summed(propagate(dataset, "boxes", "there", model=Follow(server), direction="forward", max_frames=2, start=3))
    metadata = dataset.first().metadata
    assert (metadata.total_frame_count, metadata.frame_height, metadata.frame_width, metadata.frame_rate) == (FRAMES, *SIZE, 25.0)
    assert {frame for frame, _ in regions(dataset.first(), "there")} == {1, 3, 4}
    assert dataset.info["locara_label"]["there"]["model"].startswith("the model of http://127.0.0.1:")


def test_a_cancelled_run_keeps_its_frames(clip: tuple[Any, list[dict[str, Any]]], served: Served, server: Server) -> None:
    dataset, _ = clip
    stop = Stop()
    stop_after(propagate(dataset, "boxes", "there", model=Follow(server), stop=stop), stop, 3)
    assert {frame for frame, _ in regions(dataset.first(), "there")} == {1, 2, 3}
    assert sessions(served) == 0
    steps = propagate(dataset, "boxes", "there", model=Follow(server))
    next(steps)
    steps.close()
    assert sessions(served) == 0


def test_a_server_that_goes_away_in_the_middle(clip: tuple[Any, list[dict[str, Any]]], tmp_path: Path) -> None:
    dataset, _ = clip
    with serve(tmp_path) as dying:
        steps = propagate(dataset, "boxes", "there", model=Follow(client_of(dying)))
        next(steps)
        dying.process.kill()
        dying.process.wait(30)
        with pytest.raises(RunError) as caught:
            list(steps)
    assert caught.value.code == "run.server"
    found = {frame for frame, _ in regions(dataset.first(), "there")}
    assert found == set(range(1, len(found) + 1))
    with pytest.raises(RunError) as caught:
        summed(propagate(dataset, "boxes", "there", model=Follow(client_of(dying))))
    assert caught.value.code == "run.server"


def test_bad_videos_are_told_and_cost_no_other(
    clip: tuple[Any, list[dict[str, Any]]], served: Served, server: Server, tmp_path: Path
) -> None:
    dataset, _ = clip
    whole = Path(dataset.first().filepath).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "empty.mp4").write_bytes(b"")
    bad_picture(tmp_path / "bad.mp4")
    for name in ("bad", "cut", "empty", "none"):
        sample = fo.Sample(filepath=str(tmp_path / f"{name}.mp4"))
        dataset.add_sample(sample)
        sample.frames[1]["boxes"] = dataset.first().frames[1]["boxes"].copy()
        sample.save()
    ran = [
        summed(propagate(dataset, "boxes", field, model=model))
        for field, model in (("here", "classic"), ("there", Follow(server)))
    ]
    assert [one.samples for one in ran] == [5, 5]
    codes = [[step.error.code for step in one.failed if step.error] for one in ran]
    assert codes[0] == codes[1] == ["video.unknown_format", "video.empty", "video.missing"]
    assert [step.note for step in ran[0].noted] == [step.note for step in ran[1].noted] != []
    assert dataset.values("there_error")[1].startswith("[video.unknown_format] the server says: ")
    assert_same(dataset.first(), "here", "there")
    assert sessions(served) == 0


def test_what_a_server_does_not_take(
    clip: tuple[Any, list[dict[str, Any]]], served: Served, server: Server, tmp_path: Path
) -> None:
    """A video that is too large is one video's fault; a model that is not granted would be every video's."""
    dataset, _ = clip
    with pytest.raises(RunError) as caught:
        summed(propagate(dataset, "boxes", "there", model=Follow(server, "sam2.1-hiera-tiny")))
    assert caught.value.code == "model.not_allowed"
    with serve(tmp_path, LOCARA_SERVER__VIDEO_BYTES="2000") as small:
        ran = summed(propagate(dataset, "boxes", "there", model=Follow(client_of(small))))
    assert [step.error.code for step in ran.failed if step.error] == ["request.too_large"]
    assert sessions(served) == 0


def test_a_video_without_objects_is_not_sent(clip: tuple[Any, list[dict[str, Any]]]) -> None:
    """Nobody is asked: nothing listens at the server's address."""
    dataset, _ = clip
    sample = dataset.first()
    sample.frames[1]["boxes"] = fo.Detections(detections=[])
    sample.save()
    address = server_address("http://127.0.0.1:9")
    assert address is not None
    ran = summed(propagate(dataset, "boxes", "there", model=Follow(Server(address))))
    assert [step.error.code for step in ran.failed if step.error] == ["prompt.empty"]


@pytest.fixture
def operated(tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Calls an operator of the plugin where a server is named, and no model may be loaded."""

    def loaded(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded here")

    monkeypatch.setenv("LOCARA_SERVER", served.url)
    monkeypatch.setattr(propagating, "load_video_model", loaded)
    monkeypatch.setattr(propagating, "open_video_file", loaded)
    monkeypatch.setattr(fo.config, "plugins_dir", str(tmp_path / "plugins"))
    install.install(Folders(tmp_path / "plugins", tmp_path / "zoo"), link=True)
    context = importlib.import_module("fiftyone.plugins.context")
    context.build_plugin_contexts()
    return lambda name, dataset, **params: foo.execute_operator(
        f"@locara/label/{name}", ctx={"dataset": dataset, "params": params}
    )


def test_the_operator_sends_videos(clip: tuple[Any, list[dict[str, Any]]], operated: Callable[..., None]) -> None:
    dataset, _ = clip
    operated("propagate_masklets", dataset, prompt_field="boxes", direction="forward", max_frames=3)
    operated("propagate_masklets", dataset, prompt_field="boxes", label_field="mini", max_frames=3, model="mini")
    dataset.reload()
    for field in ("masklets", "mini"):
        assert {frame for frame, _ in regions(dataset.first(), field)} == {1, 2, 3, 4}


def masks_on(sample: Any, field: str) -> dict[int, list[Mask]]:
    """Of the frames that were gone through."""
    found = {number: frame[field] for number, frame in sample.frames.items() if frame[field] is not None}
    return {number: masks_of(value) for number, value in found.items()}


def test_frames_are_pre_labeled_there(
    clip: tuple[Any, list[dict[str, Any]]], server: Server, operated: Callable[..., None]
) -> None:
    dataset, _ = clip
    summed(prelabel_video(dataset, "mini", "here", stride=3))
    summed(prelabel_video(dataset, segmenter(server, "mini"), "there", stride=3))
    operated("prelabel", dataset, label_field="pred", model="mini", stride=3)
    dataset.reload()
    sample = dataset.first()
    assert sum(map(len, masks_on(sample, "here").values())) > 0
    assert set(masks_on(sample, "here")) == {1, 4, 7}
    assert masks_on(sample, "there") == masks_on(sample, "pred") == masks_on(sample, "here")
    known = dataset.label_schemas["frames.there"]["classes"]
    assert set(known) == set(dataset.distinct("frames.there.detections.label"))
