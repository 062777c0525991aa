"""SegFormer against transformers: random weights, the official file, the published processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.required import needed

torch = needed("torch")

from locara_label.engine.loading import load  # noqa: E402
from locara_label.settings import Settings  # noqa: E402
from tests.parity import reference  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow]
CASES = [
    ("b0", "segformer-b0-finetuned-ade-512-512", 150, 512, 0),
    ("b0", "segformer-b0-finetuned-ade-512-512", 150, 512, 1),
    ("b0", "segformer-b0-finetuned-cityscapes-1024-1024", 19, 1024, 2),
    ("b2", "segformer-b2-finetuned-ade-512-512", 150, 512, 3),
    ("b5", "segformer-b5-finetuned-ade-640-640", 150, 640, 4),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}-{case[-1]}")
def test_equals_transformers(tmp_path: Path, case: tuple[str, str, int, int, int]) -> None:
    variant, name, labels, size, seed = case
    expected = reference.make(tmp_path / "weights", f"segformer-{variant}", labels=labels, size_px=size, seed=seed)
    model = load(name, expected.folder, "cpu", settings=Settings(cache_dir=tmp_path / "cache"))
    for image in reference.pictures(2 if variant == "b5" else 4, seed):
        outputs = expected.outputs(image)
        wanted = outputs.logits[0].numpy()
        assert np.abs(model.logits(image) - wanted).max() <= 1e-3 * wanted.std()
        (wanted_map,) = expected.processor.post_process_semantic_segmentation(outputs, [image.shape[:2]])
        found = model.segment_map(image)
        assert found.shape == image.shape[:2]
        assert (found == wanted_map.numpy()).mean() >= 0.999
        _regions_are_the_map(model.segment(image), found)


def _regions_are_the_map(instances: list, label_map: np.ndarray) -> None:
    drawn = np.full(label_map.shape, -1)
    for instance in instances:
        assert 0 <= instance.score <= 1
        drawn[instance.mask.to_array()] = instance.label_index
    assert (drawn == label_map).all()
