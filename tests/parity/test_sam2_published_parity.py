"""Files in the published interface, made here from random weights: float32 with data beside the file, and float16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.required import needed

torch = needed("torch")

import onnx  # noqa: E402
from onnx.external_data_helper import set_external_data  # noqa: E402

from locara_label import geometry  # noqa: E402
from locara_label.engine.loading import load_prompt_model  # noqa: E402
from locara_label.errors import BadPrompt, BadWeights, InferenceFailed, NotDownloaded  # noqa: E402
from locara_label.models.base import PromptModel  # noqa: E402
from locara_label.settings import Settings  # noqa: E402
from locara_label.types import Box, Mask, Point, Prompt  # noqa: E402
from tests.parity import reference, sam2_reference  # noqa: E402
from tests.parity.sam2_reference import Sam2Reference, upsampled  # noqa: E402
from tools.sam2_modules import EMBEDDINGS, VisionEncoder  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow]
ENCODER, DECODER = "vision_encoder", "prompt_encoder_mask_decoder"
INPUTS = ["input_points", "input_labels", "input_boxes", *EMBEDDINGS]
OUTPUTS = ["iou_scores", "pred_masks", "object_score_logits"]
ROW = "sam2.1-hiera-tiny-onnx"
PICTURES = [picture.copy() for picture in reference.pictures(3)]


class PublishedDecoder(torch.nn.Module):
    """The published inputs and outputs; `is_sound` joins boxes so that none leaves no room."""

    def __init__(self, model: Any, *, is_sound: bool) -> None:
        super().__init__()
        self.model, self.is_sound = model, is_sound
        self.eval()

    def forward(self, points: Any, labels: Any, boxes: Any, fine: Any, middle: Any, coarse: Any) -> Any:  # noqa: PLR0917
        prompts = self.model.prompt_encoder
        tokens, corners = prompts._embed_points(points, labels, pad=False), prompts._embed_boxes(boxes)
        if self.is_sound:
            corners = corners.reshape(1, 1, -1, corners.shape[-1])
        masks, iou, _, present = self.model.mask_decoder(
            image_embeddings=coarse,
            image_positional_embeddings=self.model.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=torch.cat([tokens, corners], 2),
            dense_prompt_embeddings=prompts.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(-1, -1, *coarse.shape[2:]),
            multimask_output=True,
            high_resolution_features=[fine, middle],
        )
        return iou, masks, present


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Sam2Reference:
    from tools import architectures
    from tools.train_sam2_mini import make_model

    tmp_path = tmp_path_factory.mktemp("published")
    make_model().config.save_pretrained(tmp_path / "mini" / "sam2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architectures, "MINI", tmp_path / "mini")
        return sam2_reference.make(tmp_path / "weights", "sam2-mini", 4)


def _exported(module: Any, example: tuple[Any, ...], names: tuple[list[str], list[str]], path: Path) -> onnx.ModelProto:
    free = {"input_points": {2: "points"}, "input_labels": {2: "points"}, "input_boxes": {1: "boxes"}}
    axes = {name: sizes for name, sizes in free.items() if name in names[0]}
    reference.export(module, example, names, axes, path)
    return onnx.load(str(path))


@pytest.fixture(scope="module")
def graphs(
    expected: Sam2Reference, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[onnx.ModelProto, onnx.ModelProto]]:
    """Gives fresh copies of encoder and decoder."""
    path, side = tmp_path_factory.mktemp("graphs") / "graph.onnx", expected.side
    embeddings = expected.embeddings(PICTURES[0])
    box = torch.tensor([[[0.2, 0.3, 0.7, 0.9]]]) * side
    example = (torch.rand(1, 1, 2, 2) * side, torch.tensor([[[1, 0]]]), box, *embeddings)
    encoder = _exported(
        VisionEncoder(expected.model), (torch.randn(1, 3, side, side),), (["pixel_values"], list(EMBEDDINGS)), path
    )
    decoders = {
        is_sound: _exported(PublishedDecoder(expected.model, is_sound=is_sound), example, (INPUTS, OUTPUTS), path)
        for is_sound in (True, False)
    }

    def copies(*, is_sound: bool = True) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        found = onnx.ModelProto(), onnx.ModelProto()
        found[0].CopyFrom(encoder)
        found[1].CopyFrom(decoders[is_sound])
        return found

    return copies


def _save(model: onnx.ModelProto, folder: Path, name: str) -> None:
    """As the published repositories do: the graph, and its data in a file beside it."""
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    path = folder / "onnx" / f"{name}.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}_data", size_threshold=1024)


def _folder(expected: Sam2Reference, models: tuple[onnx.ModelProto, onnx.ModelProto], folder: Path, suffix: str = "") -> Path:
    for model, name in zip(models, (ENCODER, DECODER), strict=True):
        _save(model, folder, f"{name}{suffix}")
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((expected.folder / name).read_bytes())
    return folder


def _load(folder: Path, tmp_path: Path, row: str = ROW) -> PromptModel:
    return load_prompt_model(row, folder, "cpu", settings=Settings(cache_dir=tmp_path / "cache", threads=2))


def _prompts(size: tuple[int, int]) -> list[Prompt]:
    height, width = size
    points = (Point(0.3 * width, 0.4 * height), Point(0.7 * width, 0.6 * height, positive=False))
    box = Box(0.2 * width, 0.1 * height, 0.8 * width, 0.7 * height)
    return [
        Prompt(points[:1], candidates=3),
        Prompt(points, candidates=3),
        Prompt(box=box, candidates=3),
        Prompt(points, box, candidates=3),
    ]


def _worst(model: PromptModel, expected: Sam2Reference) -> tuple[float, float]:
    """The worst IoU of a mask and the worst difference of a score."""
    ious, scores_apart = [], []
    for image in PICTURES:
        size = (image.shape[0], image.shape[1])
        wanted = expected.embeddings(geometry.resize_bilinear(image, (expected.side, expected.side)))
        prompts = _prompts(size)
        for prompt, found in zip(prompts, model.decode_many(model.encode(image), prompts), strict=True):
            logits, scores = expected.answer(wanted, size, prompt)
            order = np.argsort(-scores.numpy(), kind="stable")
            for candidate, index in zip(found, order, strict=True):
                mask, drawn = upsampled(logits[index], size), candidate.mask.to_array()
                if min(mask.mean(), 1 - mask.mean()) > 0.02:  # neither empty nor full, nor a few pixels
                    ious.append((mask & drawn).sum() / (mask | drawn).sum())
                scores_apart.append(abs(candidate.score - float(scores[index])))
    assert len(ious) > 10
    return min(ious), max(scores_apart)


def test_single_precision(expected: Sam2Reference, graphs: Any, tmp_path: Path) -> None:
    folder = _folder(expected, graphs(), tmp_path / "weights")
    assert (folder / "onnx" / f"{ENCODER}.onnx_data").stat().st_size > 1 << 20
    model = _load(folder, tmp_path)
    iou, score = _worst(model, expected)
    assert iou >= 0.999
    assert score <= 1e-3
    image = PICTURES[0]
    prompt = _prompts((image.shape[0], image.shape[1]))[0]
    three = model.decode(model.encode(image), prompt)
    (best,) = model.decode(model.encode(image), Prompt(prompt.points))
    assert best.mask == three[0].mask
    again = _load(folder, tmp_path)
    assert again.identity == model.identity
    assert again.decode(model.encode(image), prompt)[0].mask == best.mask


def test_half_precision(expected: Sam2Reference, graphs: Any, tmp_path: Path) -> None:
    """Inputs and outputs are float16 too. Rounding moves borders of random weights' masks; how far depends on the threads."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    models = tuple(convert_float_to_float16(model, keep_io_types=False) for model in graphs())
    model = _load(_folder(expected, models, tmp_path / "weights", "_fp16"), tmp_path, f"{ROW}-fp16")
    embedding = model.encode(PICTURES[0])
    assert [array.dtype for array in embedding.arrays] == [np.float32] * 3
    iou, score = _worst(model, expected)
    assert iou >= 0.95
    assert score <= 1e-2


def test_nothing_can_be_refined(expected: Sam2Reference, graphs: Any, tmp_path: Path) -> None:
    model = _load(_folder(expected, graphs(), tmp_path / "weights"), tmp_path)
    image = PICTURES[0]
    with pytest.raises(BadPrompt) as raised:
        model.decode(model.encode(image), Prompt(mask=Mask.from_array(np.ones(image.shape[:2], bool))))
    assert raised.value.code == "prompt.no_refinement"


def test_a_decoder_that_cannot_tell_no_box(expected: Sam2Reference, graphs: Any, tmp_path: Path) -> None:
    folder = _folder(expected, graphs(is_sound=False), tmp_path / "weights")
    with pytest.raises(BadWeights, match=DECODER) as raised:
        _load(folder, tmp_path)
    assert raised.value.code == "weights.empty_boxes"


@pytest.mark.parametrize("place", ["../elsewhere", "/etc/hostname"])
def test_data_of_another_folder(expected: Sam2Reference, graphs: Any, tmp_path: Path, place: str) -> None:
    folder = _folder(expected, graphs(), tmp_path / "weights")
    path = folder / "onnx" / f"{ENCODER}.onnx"
    (folder / "elsewhere").write_bytes((folder / "onnx" / f"{ENCODER}.onnx_data").read_bytes())
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.external_data:
            values = {entry.key: entry.value for entry in tensor.external_data}
            tensor.raw_data = b"x"
            set_external_data(tensor, place, int(values["offset"]), int(values["length"]))
            tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InferenceFailed) as raised:
        _load(folder, tmp_path)
    assert raised.value.code == "run.load"


@pytest.mark.parametrize("name", [f"{ENCODER}.onnx_data", f"{DECODER}.onnx"])
def test_a_file_less(expected: Sam2Reference, graphs: Any, tmp_path: Path, name: str) -> None:
    folder = _folder(expected, graphs(), tmp_path / "weights")
    (folder / "onnx" / name).unlink()
    with pytest.raises((InferenceFailed, NotDownloaded), match=name if name.startswith(DECODER) else "External data"):
        _load(folder, tmp_path)
