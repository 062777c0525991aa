"""A file in the published interface, made here from random weights, against transformers' model on the same pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.required import needed

torch = needed("torch")

import onnx  # noqa: E402

from locara_label import geometry  # noqa: E402
from locara_label.engine.loading import load_text_model  # noqa: E402
from locara_label.models.base import NO_LIMIT  # noqa: E402
from locara_label.models.grounding_dino_published import PublishedGroundingDino  # noqa: E402
from locara_label.settings import Settings  # noqa: E402
from locara_label.types import TextPrompt  # noqa: E402
from tests.models import bert_files  # noqa: E402
from tests.parity import grounding_dino_reference, reference  # noqa: E402
from tests.parity.grounding_dino_reference import TextReference, thresholds  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow]
SIDE = 128
INPUTS = ["pixel_values", "input_ids", "token_type_ids", "attention_mask", "pixel_mask"]
TEXTS = ["red car .", "red car . person . traffic light . black cats around the table ."]
ROW = "grounding-dino-tiny-onnx"


def _nano() -> Any:
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    swin = SwinConfig(
        image_size=SIDE, embed_dim=24, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], window_size=4, out_indices=[2, 3, 4]
    )
    text = BertConfig(vocab_size=4000, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=text,
        num_queries=50,
        encoder_layers=2,
        decoder_layers=2,
        d_model=64,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        disable_custom_kernels=True,
    )
    return GroundingDinoForObjectDetection(config)


class Whole(torch.nn.Module):
    """The published inputs and outputs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, *given: Any) -> Any:
        found = self.model(**dict(zip(INPUTS, given, strict=True)), return_dict=True)
        return found.logits, found.pred_boxes


def _phrases_apart(ids: Any, special_tokens: Any) -> Any:
    """The library's sub-sentence attention and positions, of operators that ONNX has."""
    ends = (ids[..., None] == special_tokens).any(-1).long()
    phrase = ends.cumsum(1) - ends
    together = phrase[:, :, None] == phrase[:, None]
    place = torch.arange(ids.shape[1])
    nowhere = torch.full_like(place, -(1 << 20))
    last = torch.where(together, place, nowhere).amax(-1)
    first = -torch.where(together, -place, nowhere).amax(-1)
    joined = (last > 0) & (last < place[-1])
    sees = (together & joined[:, None]) | (place[:, None] == place)
    return sees, torch.where(joined, place - first, 0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> TextReference:
    folder = tmp_path_factory.mktemp("nano")
    return grounding_dino_reference.make(folder, _nano, vocabulary=bert_files.pieces(), edges=(SIDE, SIDE), seed=5)


@pytest.fixture(scope="module")
def graph(expected: TextReference, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    from transformers.models.grounding_dino import modeling_grounding_dino

    from tools.build_graphs import strip

    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    ids = expected.processor.tokenizer(TEXTS[1], return_tensors="pt")["input_ids"]
    mask = torch.ones(1, SIDE, SIDE, dtype=torch.int64)
    example = (torch.randn(1, 3, SIDE, SIDE), ids, torch.zeros_like(ids), torch.ones_like(ids), mask)
    names, axes = (INPUTS, ["logits", "pred_boxes"]), {name: {1: "tokens"} for name in INPUTS[1:4]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_grounding_dino, "generate_masks_with_special_tokens_and_transfer_map", _phrases_apart)
        reference.export(Whole(expected.model), example, names, axes, path, do_constant_folding=False)
    found = onnx.load(str(path))
    strip(found)
    return found


@pytest.fixture(scope="module")
def published(expected: TextReference, graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _load(expected, graph, tmp_path_factory.mktemp("published") / "weights")


def _load(expected: TextReference, graph: onnx.ModelProto, folder: Path, row: str = ROW) -> Any:
    (folder / "onnx").mkdir(parents=True)
    suffix = row.removeprefix(ROW).replace("-", "_")
    onnx.save(graph, str(folder / "onnx" / f"model{suffix}.onnx"))
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((expected.folder / name).read_bytes())
    return load_text_model(row, folder, "cpu", settings=Settings(cache_dir=folder / "cache", threads=2))


def _apart(model: Any, expected: TextReference, image: Any, text: str) -> Any:
    """The largest difference of each query [Q] to the reference, which sees the picture at the graph's size."""
    seen = expected.see(geometry.resize_bilinear(image, (SIDE, SIDE)), text)
    (sentence,) = model._reader.read(TextPrompt.of(text))
    assert list(sentence.ids) == seen.inputs["input_ids"][0].tolist()
    logits, boxes = model._detect(model.encode(image), sentence, NO_LIMIT)
    wanted = seen.outputs.logits[0, :, : seen.tokens].numpy()
    assert wanted.std() > 0.3
    assert (logits.dtype, boxes.dtype) == (np.float32, np.float32)
    return np.maximum(np.abs(logits - wanted).max(1), np.abs(boxes - seen.outputs.pred_boxes[0].numpy()).max(1))


@pytest.mark.parametrize("text", TEXTS)
def test_single_precision(expected: TextReference, published: Any, text: str) -> None:
    assert isinstance(published, PublishedGroundingDino)
    for image in reference.pictures(3):
        assert _apart(published, expected, image, text).max() <= 1e-3


def test_phrases_and_pixels(expected: TextReference, published: Any) -> None:
    (image,) = reference.pictures(1)
    seen = expected.see(geometry.resize_bilinear(image, (SIDE, SIDE)), TEXTS[1])
    box, text = thresholds(seen.chances)
    kept = expected.found(seen, box, text)
    (found,) = published.decode_many(published.encode(image), [TextPrompt.of(TEXTS[1], box, text)])
    assert [one.phrase for one in found] == [one.phrase for one in kept]
    np.testing.assert_allclose([one.score for one in found], [one.score for one in kept], atol=1e-3)
    height, width = image.shape[:2]
    scale = np.array([width, height, width, height]) / SIDE
    ours = [(one.box.x0, one.box.y0, one.box.x1, one.box.y1) for one in found]
    np.testing.assert_allclose(ours, np.array([one.box for one in kept]) * scale, atol=1e-3 * max(height, width))


def test_half_precision(expected: TextReference, graph: onnx.ModelProto, tmp_path: Path) -> None:
    """Inputs and outputs are float16 too. Rounding lets some proposals change places, so that a few queries answer for others."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = onnx.ModelProto()
    half.CopyFrom(graph)
    model = _load(expected, convert_float_to_float16(half), tmp_path / "weights", f"{ROW}-fp16")
    apart = _apart(model, expected, reference.pictures(1)[0], TEXTS[0])
    assert np.quantile(apart, 0.8) <= 0.02
