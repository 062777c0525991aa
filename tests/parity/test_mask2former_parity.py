"""Mask2Former against transformers: random weights, the official file, the published processor and post-processing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.required import needed

torch = needed("torch")

from locara_label.engine.loading import load  # noqa: E402
from locara_label.settings import Settings  # noqa: E402
from locara_label.types import Instance  # noqa: E402
from tests.parity import reference  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow]
GRAPH = "mask2former-swin-tiny-q100"


def _load(expected: reference.Reference, task: str, tmp_path: Path) -> Any:
    name = {
        "semantic": "mask2former-swin-tiny-ade-semantic",
        "instance": "mask2former-swin-tiny-coco-instance",
        "panoptic": "mask2former-swin-tiny-coco-panoptic",
    }[task]
    return load(name, expected.folder, "cpu", settings=Settings(cache_dir=tmp_path / "cache"))


@pytest.mark.parametrize("seed", range(4))
def test_logits_and_every_task(tmp_path: Path, seed: int) -> None:
    expected = reference.make(tmp_path / "weights", GRAPH, labels=80, size_px=384, seed=seed)
    models = {task: _load(expected, task, tmp_path) for task in ("semantic", "instance", "panoptic")}
    compared = 0
    for image in reference.pictures(3, seed):
        outputs = expected.outputs(image)
        if not _same_logits(models["semantic"], expected, outputs, image):
            continue
        _semantic(models["semantic"], expected, outputs, image)
        compared += _instance(models["instance"], expected, outputs, image)
        compared += _panoptic(models["panoptic"], expected, outputs, image)
    assert compared


def _same_logits(model: Any, expected: reference.Reference, outputs: Any, image: np.ndarray) -> bool:
    """Within 1e-3 of the std, and half of the queries within 1e-4; if they are not, PyTorch itself must be as unsure.

    The decoder attends where a mask is positive, a decision that rounding flips where the mask is zero. The query that owns such
    a cell moves then, in either implementation, and those that look at it move a little.
    """
    found, wanted = model.logits(image), _arrays(outputs)
    if all(_is_close(*pair) for pair in zip(found, wanted, strict=True)):
        return True
    unsure = np.max([_distances(other, wanted) for other in _jittered(expected, image)], axis=0)
    assert (_distances(found, wanted) <= 2 * unsure).all()
    return False


def _arrays(outputs: Any) -> tuple[np.ndarray, np.ndarray]:
    return outputs.class_queries_logits[0].numpy(), outputs.masks_queries_logits[0].numpy()


def _worst(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each query, in units of the std."""
    return np.abs(found - wanted).reshape(len(found), -1).max(1) / wanted.std()


def _is_close(found: np.ndarray, wanted: np.ndarray) -> bool:
    worst = _worst(found, wanted)
    return bool(worst.max() <= 1e-3 and np.median(worst) <= 1e-4)


def _distances(found: Any, wanted: Any) -> list[float]:
    worst = [_worst(*pair) for pair in zip(found, wanted, strict=True)]
    return [rule(values) for values in worst for rule in (np.max, np.median)]


def _jittered(expected: reference.Reference, image: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """PyTorch's answers when the pixels are moved by as much as rounding moves what becomes of them."""
    pixels = expected.processor(images=image, return_tensors="pt")["pixel_values"]
    found = []
    for seed in range(8):
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            found.append(_arrays(expected.model(pixel_values=pixels + 1e-5 * noise)))
    return found


def _semantic(model: Any, expected: reference.Reference, outputs: Any, image: np.ndarray) -> None:
    """The same class wherever the best two do not tie."""
    (wanted,) = expected.processor.post_process_semantic_segmentation(outputs, [image.shape[:2]])
    found = model.segment_map(image)
    scores = _class_scores(outputs, image)
    best, ours = (np.take_along_axis(scores, labels[None].astype(int), 0)[0] for labels in (wanted.numpy(), found))
    assert (best == scores.max(0)).mean() >= 0.9999
    told_apart = best > 1e-30  # far outside all masks float32 knows no more
    assert (best - ours <= 0.02 * best)[told_apart].all()
    assert (found == wanted.numpy())[told_apart].mean() >= 0.99


def _class_scores(outputs: Any, image: np.ndarray) -> np.ndarray:
    """What the published post-processing takes the best of, [classes, H, W]."""
    masks = torch.nn.functional.interpolate(outputs.masks_queries_logits, size=(384, 384), mode="bilinear").sigmoid()
    scores = torch.einsum("bqc,bqhw->bchw", outputs.class_queries_logits.softmax(-1)[..., :-1], masks)
    scaled: np.ndarray = torch.nn.functional.interpolate(scores, size=image.shape[:2], mode="bilinear")[0].numpy()
    return scaled


def _threshold(scores: np.ndarray) -> float:
    """A threshold in the widest gap between the best scores, so that rounding does not decide who is in."""
    if not len(scores):
        return 0.5
    ordered = np.append(np.sort(scores)[::-1][:12], 0.0)
    gap = int(np.argmax(ordered[:-1] - ordered[1:]))
    return float((ordered[gap] + ordered[gap + 1]) / 2)


def _instance(model: Any, expected: reference.Reference, outputs: Any, image: np.ndarray) -> int:
    everything = expected.processor.post_process_instance_segmentation(
        outputs, threshold=0.0, target_sizes=[image.shape[:2]], return_binary_maps=True
    )[0]
    infos = everything["segments_info"]
    maps = everything["segmentation"] if infos else []  # without instances transformers gives one map of -1
    threshold = _threshold(np.array([info["score"] for info in infos]))
    kept = [(info, mask.numpy() > 0) for info, mask in zip(infos, maps, strict=True) if info["score"] >= threshold]
    return _same_regions(model.segment(image, threshold), [(info["label_id"], info["score"], mask) for info, mask in kept])


def _panoptic(model: Any, expected: reference.Reference, outputs: Any, image: np.ndarray) -> int:
    best = outputs.class_queries_logits[0].softmax(-1)
    classes = best.shape[-1] - 1
    scores = best.max(-1).values[best.argmax(-1) != classes].numpy()
    threshold = _threshold(scores)
    stuff = {label.index for label in model.labels if label.is_stuff}
    wanted = expected.processor.post_process_panoptic_segmentation(
        outputs, threshold=threshold, label_ids_to_fuse=stuff, target_sizes=[image.shape[:2]]
    )[0]
    segmentation = wanted["segmentation"].numpy()
    first: dict[int, Any] = {}
    for info in wanted["segments_info"]:
        first.setdefault(info["id"], info)
    regions = [(info["label_id"], info["score"], segmentation == number) for number, info in first.items()]
    found = model.segment(image, threshold)
    compared = _same_regions(found, [region for region in regions if region[2].any()])
    drawn = sum((instance.mask.to_array().astype(int) for instance in found), np.zeros(image.shape[:2], int))
    assert drawn.max(initial=0) <= 1
    return compared


def _same_regions(found: list[Instance], wanted: list[tuple[int, float, np.ndarray]]) -> int:
    """How many regions were compared."""
    assert sorted(instance.label_index for instance in found) == sorted(index for index, _, _ in wanted)
    ious = []
    for index, score, mask in wanted:
        best = max((i for i in found if i.label_index == index and abs(i.score - score) < 1e-3), key=lambda i: _iou(i, mask))
        ious.append(_iou(best, mask))
    assert not ious or np.mean(ious) >= 0.99
    return len(ious)


def _iou(instance: Instance, mask: np.ndarray) -> float:
    array = instance.mask.to_array()
    return float((array & mask).sum() / max((array | mask).sum(), 1))
