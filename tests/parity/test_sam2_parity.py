"""SAM 2.1 against transformers: random weights, the official file, the published arithmetic before and after the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.required import needed

torch = needed("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from locara_label import geometry  # noqa: E402
from locara_label.engine.loading import load_prompt_model  # noqa: E402
from locara_label.errors import BadWeights  # noqa: E402
from locara_label.settings import Settings  # noqa: E402
from locara_label.types import Box, Candidate, Embedding, Mask, Point, Prompt  # noqa: E402
from tests.parity import reference, sam2_reference  # noqa: E402
from tests.parity.sam2_reference import Sam2Reference, upsampled  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow]
TWIN = "prompt_encoder.shared_embedding.positional_embedding"


@dataclass
class Pair:
    """The two sides, and what both made of one picture."""

    model: Any
    expected: Sam2Reference
    cache: dict[int, tuple[Embedding, list[Any]]]

    def embed(self, image: np.ndarray) -> tuple[Embedding, list[Any]]:
        if id(image) not in self.cache:
            # Pillow and torch round bytes differently; see `test_the_resize_is_that_of_torch`.
            resized = geometry.resize_bilinear(image, (self.expected.side, self.expected.side))
            self.cache[id(image)] = self.model.encode(image), self.expected.embeddings(resized)
        return self.cache[id(image)]


def _pair(tmp_path: Path, graph: str, seed: int) -> Pair:
    expected = sam2_reference.make(tmp_path / "weights", graph, seed)
    settings = Settings(cache_dir=tmp_path / "cache", threads=2)
    return Pair(load_prompt_model(graph, expected.folder, "cpu", settings=settings), expected, {})


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The architecture of the mini, with random numbers."""
    return _pair(tmp_path_factory.mktemp("nano"), "sam2-mini", 1)


PICTURES = reference.pictures(5)


def _prompts(size: tuple[int, int], candidates: int) -> list[Prompt]:
    height, width = size
    clicks = (
        Point(0.3 * width, 0.4 * height),
        Point(0.7 * width, 0.6 * height, positive=False),
        Point(0.2 * width, 0.9 * height),
    )
    box = Box(0.25 * width, 0.125 * height, 0.8 * width, 0.77 * height)
    return [
        Prompt(clicks[:1], candidates=candidates),
        Prompt(clicks[:2], candidates=candidates),
        Prompt(clicks, candidates=candidates),
        Prompt(box=box, candidates=candidates),
        Prompt(clicks[:1], box, candidates=candidates),
        Prompt(clicks, box, candidates=candidates),
    ]


def _compare(found: list[Candidate], wanted: tuple[Any, Any], size: tuple[int, int]) -> list[float]:
    """Checks scores, logits and masks; gives the share of the picture that each mask covers."""
    logits, scores = wanted
    order = np.argsort(-scores.numpy(), kind="stable")
    assert len(found) == len(order)
    shares = []
    for candidate, index in zip(found, order, strict=True):
        assert abs(candidate.score - float(scores[index])) <= 1e-3
        assert candidate.logits is not None
        assert np.abs(candidate.logits - logits[index].numpy()).max() <= 1e-3
        mask, drawn = upsampled(logits[index], size), candidate.mask.to_array()
        assert (mask & drawn).sum() >= 0.999 * (mask | drawn).sum()
        shares.append(float(mask.mean()))
    return shares


def _all_prompts(pair: Pair, image: np.ndarray, candidates: int) -> list[float]:
    size = (image.shape[0], image.shape[1])
    embedding, wanted = pair.embed(image)
    for array, tensor in zip(embedding.arrays, wanted, strict=True):
        assert np.abs(array - tensor.numpy()).max() <= 1e-3
    prompts = _prompts(size, candidates)
    shares = []
    for prompt, found in zip(prompts, pair.model.decode_many(embedding, prompts), strict=True):
        shares += _compare(found, pair.expected.answer(wanted, size, prompt), size)
    assert max(min(share, 1 - share) for share in shares) > 0.02  # neither empty nor full
    return shares


def _refine(pair: Pair, image: np.ndarray) -> None:
    """Logits of an earlier answer, alone and with points, and a drawn mask."""
    size = (image.shape[0], image.shape[1])
    embedding, wanted = pair.embed(image)
    (first,) = pair.model.decode(embedding, _prompts(size, 1)[0])
    assert first.logits is not None
    earlier = first.logits.clip(-32, 32)
    for base in (Prompt(logits=first.logits), *(Prompt(p.points, p.box, logits=first.logits) for p in _prompts(size, 3))):
        for candidates in (1, 3):
            prompt = Prompt(base.points, base.box, logits=base.logits, candidates=candidates)
            found = pair.model.decode(embedding, prompt)
            _compare(found, pair.expected.answer(wanted, size, prompt, earlier), size)
    drawn = np.zeros(size, bool)
    drawn[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = True
    quarter = pair.expected.side // 4
    logits = geometry.shrink_mask(drawn, (quarter, quarter)) * 20 - 10
    prompt = Prompt((Point(size[1] / 3, size[0] / 3),), mask=Mask.from_array(drawn))
    _compare(pair.model.decode(embedding, prompt), pair.expected.answer(wanted, size, prompt, logits), size)


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("index", range(len(PICTURES)))
def test_nano(nano: Pair, index: int, candidates: int) -> None:
    _all_prompts(nano, PICTURES[index], candidates)


@pytest.mark.parametrize("index", range(len(PICTURES)))
def test_nano_refined(nano: Pair, index: int) -> None:
    _refine(nano, PICTURES[index])


@pytest.mark.parametrize("index", range(len(PICTURES)))
def test_the_resize_is_that_of_torch(nano: Pair, index: int) -> None:
    """At most one grey level apart, and nearly the same all the way from the picture; random weights magnify the difference."""
    side, image = nano.expected.side, PICTURES[index]
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    theirs = torch.nn.functional.interpolate(planes, size=(side, side), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    apart = np.abs(geometry.resize_bilinear(image, (side, side)).astype(int) - theirs.numpy())
    assert apart.max() <= 1
    assert apart.mean() < 0.25
    size = (image.shape[0], image.shape[1])
    prompt = _prompts(size, 1)[4]
    logits, scores = nano.expected.answer(nano.expected.embeddings(image), size, prompt)
    (found,) = nano.model.decode(nano.embed(image)[0], prompt)
    mask, drawn = upsampled(logits[0], size), found.mask.to_array()
    assert np.abs(found.logits - logits[0].numpy()).mean() < 0.03 * logits.std()
    assert (mask & drawn).sum() >= 0.95 * (mask | drawn).sum()
    assert abs(found.score - float(scores[0])) <= 1e-2


def test_the_single_answer_takes_both_ways(nano: Pair) -> None:
    """The stability rule decides, so that the comparisons above have seen both of its outcomes."""
    seen = set()
    for image in PICTURES:
        size = (image.shape[0], image.shape[1])
        embedding, _ = nano.embed(image)
        for prompt, triple in zip(_prompts(size, 1), _prompts(size, 3), strict=True):
            (one,) = nano.model.decode(embedding, prompt)
            best = nano.model.decode(embedding, triple)[0]
            seen.add(bool(np.array_equal(one.logits, best.logits)))
    nano.model._stability = type(nano.model._stability)(threshold=0.0)
    try:
        (first,) = nano.model.decode(embedding, prompt)
        assert not np.array_equal(first.logits, best.logits)
    finally:
        nano.model._stability = type(nano.model._stability)()
    assert True in seen


@pytest.mark.timeout(900)
def test_tiny_at_full_size(tmp_path: Path) -> None:
    pair = _pair(tmp_path, "sam2.1-hiera-tiny", 0)
    image = PICTURES[1]
    for candidates in (1, 3):
        _all_prompts(pair, image, candidates)
    _refine(pair, image)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", ["small", "base-plus", "large"])
def test_the_others_at_full_size(tmp_path: Path, variant: str) -> None:
    pair = _pair(tmp_path, f"sam2.1-hiera-{variant}", 2)
    _all_prompts(pair, PICTURES[2], 3)


def _changed(expected: Sam2Reference, folder: Path, lacking: str = "", extra: str = "") -> Path:
    tensors = load_file(expected.folder / "model.safetensors")
    if lacking:
        del tensors[lacking]
    if extra:
        tensors[extra] = torch.zeros(3)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_the_twin_of_the_positions_may_be_missing_or_different(nano: Pair, tmp_path: Path) -> None:
    folder = _changed(nano.expected, tmp_path / "weights", TWIN, "memory_attention.layer_norm.weight")
    model = load_prompt_model("sam2-mini", folder, "cpu", settings=Settings(cache_dir=tmp_path / "cache"))
    image = PICTURES[0]
    prompt = _prompts((image.shape[0], image.shape[1]), 1)[4]
    (found,) = model.decode(model.encode(image), prompt)
    (wanted,) = nano.model.decode(nano.embed(image)[0], prompt)
    assert found.mask == wanted.mask
    assert model.identity != nano.model.identity


@pytest.mark.parametrize("name", ["mask_decoder.iou_token.weight", "no_memory_embedding"])
def test_a_tensor_less(nano: Pair, tmp_path: Path, name: str) -> None:
    folder = _changed(nano.expected, tmp_path / "weights", name, "stranger")
    with pytest.raises(BadWeights) as raised:
        load_prompt_model("sam2-mini", folder, "cpu", settings=Settings(cache_dir=tmp_path / "cache"))
    assert raised.value.code == "weights.mismatch"
    assert raised.value.missing == (name,)
    assert raised.value.extra == ("stranger",)
