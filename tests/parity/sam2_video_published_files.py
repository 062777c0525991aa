"""The five published files of a SAM 2 video model, made from any `Sam2VideoModel`: names, shapes and types as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.sam2_video.modeling_sam2_video import NO_OBJ_SCORE, get_1d_sine_pe

from locara_label.models.sam2_video_published import INTERFACE
from tests.parity.reference import export
from tools.sam2_modules import VisionEncoder
from tools.sam2_video_modules import PointingDecoder

SHOWN = 256
"""Side of the mask that the decoder shows, whatever the model's own."""


class _Part(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.eval()

    @property
    def cells(self) -> int:
        return int(self.model.backbone_feature_sizes[-1][0])


class _Vision(_Part):
    """Positions are constants, as exact as half precision files have them; an output that nothing leads to would be left out."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        nothing = torch.zeros(1, 3, model.image_size, model.image_size)
        with torch.no_grad():
            self.register_buffer("places", model.vision_encoder(nothing, return_dict=True).fpn_position_encoding[2])

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        fine, middle, seen = VisionEncoder(self.model)(pixel_values)
        return (
            fine,
            middle,
            seen - self.model.no_memory_embedding.view(1, -1, 1, 1),
            seen,
            self.places + 0 * pixel_values[0, 0, 0, 0],
        )


class _Decoder(_Part):
    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        quarter, side = 4 * self.cells, self.model.image_size
        no_mask = torch.zeros(1, 1, quarter, quarter), torch.zeros(1)
        masks, iou, score, pointers = PointingDecoder(self.model)(fine, middle, coarse, points[0], labels[0].long(), *no_mask)
        chosen = self._chosen(masks[0], iou[0], labels)
        token = torch.where(self._several(labels), chosen, 0)  # a mask that stands in for the first keeps the first's pointer
        low = torch.where(score[0, 0] > 0, masks[:, chosen], NO_OBJ_SCORE)[:, None]
        high = functional.interpolate(low, (side, side), mode="bilinear", align_corners=False)
        shown = low if quarter == SHOWN else functional.interpolate(low, (SHOWN, SHOWN), mode="bilinear", align_corners=False)
        return shown, high, iou[:, chosen][:, None], score[None], pointers[:, token][:, None]

    def _several(self, labels: Tensor) -> Tensor:
        return (labels != -1).sum() <= self.model.config.multimask_max_pt_num

    def _chosen(self, masks: Tensor, iou: Tensor, labels: Tensor) -> Tensor:
        decoder = self.model.mask_decoder
        best = 1 + iou[1:].argmax()
        narrow, wide = ((masks[0] > sign * decoder.dynamic_multimask_stability_delta).sum() for sign in (1, -1))
        stable = narrow >= decoder.dynamic_multimask_stability_thresh * wide
        return torch.where(self._several(labels) | ~stable, best, 0)


class _Memory(_Part):
    def __init__(self, model: Any) -> None:
        super().__init__(model)
        cells, side = self.cells, model.image_size
        with torch.no_grad():
            _, places = model.memory_encoder(torch.zeros(1, model.hidden_dim, cells, cells), torch.zeros(1, 1, side, side))
        self.register_buffer("places", places)

    def forward(self, seen: Tensor, logits: Tensor, score: Tensor, binarize: Tensor) -> tuple[Tensor, Tensor]:
        config = self.model.config
        mask = torch.where(binarize > 0.5, (logits > 0).to(logits.dtype), torch.sigmoid(logits))
        scaled = mask * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        memory, _ = self.model.memory_encoder(seen, scaled)
        gone = (score <= 0).to(memory.dtype).view(1, 1, 1, 1)
        memory = memory + gone * self.model.occlusion_spatial_embedding_parameter[..., None, None]
        return tuple(one.flatten(2).permute(2, 0, 1) for one in (memory, self.places + 0 * binarize))


class _Attention(_Part):
    def forward(self, seen: Tensor, places: Tensor, memory: Tensor, memory_places: Tensor) -> Tensor:
        model = self.model
        tokens = model.config.max_object_pointers_in_encoder * (model.hidden_dim // model.mem_dim)
        found = model.memory_attention(
            current_vision_features=seen,
            current_vision_position_embeddings=places,
            memory=memory,
            memory_posision_embeddings=memory_places,
            num_object_pointer_tokens=tokens,
        )
        return found.reshape(-1, model.hidden_dim).T.reshape(1, model.hidden_dim, self.cells, self.cells)


class _Times(_Part):
    def forward(self, shares: Tensor) -> Tensor:
        return self.model.temporal_positional_encoding_projection_layer(get_1d_sine_pe(shares, dim=self.model.hidden_dim))


def write(model: Any, folder: Path, memories: int) -> Path:
    """The files of a model whose memory attention takes so many memories."""
    (folder / "onnx").mkdir(parents=True)
    side, cells, depth = model.image_size, model.backbone_feature_sizes[-1][0], model.hidden_dim
    pointers = model.config.max_object_pointers_in_encoder
    rows = memories * cells**2 + pointers * (depth // model.mem_dim)
    coarse, clicks = torch.randn(1, depth, cells, cells), (torch.rand(1, 1, 2, 2) * side, torch.tensor([[[1, 0]]]).int())
    fine = torch.randn(1, depth // 8, 4 * cells, 4 * cells), torch.randn(1, depth // 4, 2 * cells, 2 * cells)
    examples: dict[str, tuple[_Part, tuple[Tensor, ...]]] = {
        "vision_encoder": (_Vision(model), (torch.randn(1, 3, side, side),)),
        "mask_decoder": (_Decoder(model), (*fine, coarse, *clicks)),
        "memory_encoder": (_Memory(model), (coarse, torch.randn(1, 1, side, side), torch.randn(1, 1), torch.tensor(1.0))),
        "memory_attention": (
            _Attention(model),
            (*torch.randn(2, cells**2, 1, depth), *torch.randn(2, rows, 1, model.mem_dim)),
        ),
        "pointer_tpos": (_Times(model), (torch.rand(pointers),)),
    }
    for name, (module, example) in examples.items():
        _export(module, example, name, folder / "onnx" / f"{name}.onnx")
    constants = {
        "image_size": side,
        "memory_frames": memories,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "memory_temporal_positional_encoding": model.memory_temporal_positional_encoding.detach()[:, 0, 0].tolist(),
    }
    (folder / "constants.json").write_text(json.dumps(constants))
    return folder


def _export(module: _Part, example: tuple[Tensor, ...], name: str, path: Path) -> None:
    inputs, outputs = INTERFACE[name]
    axes = {key: {2: "points"} for key in ("input_points", "input_labels") if key in inputs}
    export(module, example, (list(inputs), list(outputs)), axes, path)


def halve(source: Path, folder: Path) -> Path:
    """The same files with half precision inside, and single precision at their inputs and outputs."""
    (folder / "onnx").mkdir(parents=True)
    for path in (source / "onnx").iterdir():
        model = onnx.load(str(path))
        _halve(model.graph)
        _cast_ends(model.graph)
        onnx.save(model, str(folder / "onnx" / path.name))
    (folder / "constants.json").write_bytes((source / "constants.json").read_bytes())
    return folder


def _halve(graph: onnx.GraphProto) -> None:
    """Every number inside, but for the scales of resizing, which are single by definition."""
    scales = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:3]}
    tensors = [one for one in graph.initializer if one.name not in scales]
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.FLOAT16
            elif attribute.type == onnx.AttributeProto.TENSOR and node.output[0] not in scales:
                tensors.append(attribute.t)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                _halve_branch(attribute.g)
    for tensor in tensors:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            numbers = numpy_helper.to_array(tensor).clip(-65504, 65504).astype("float16")
            tensor.CopyFrom(numpy_helper.from_array(numbers, tensor.name))
    del graph.value_info[:]


def _halve_branch(graph: onnx.GraphProto) -> None:
    _halve(graph)
    for value in graph.output:
        if _is_single(value):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def _cast_ends(graph: onnx.GraphProto) -> None:
    ends = {one.name: f"{one.name}_half" for one in (*graph.input, *graph.output) if _is_single(one)}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [ends.get(name, name) for name in names]
    nodes = list(graph.node)
    first = [_cast(one.name, ends[one.name], onnx.TensorProto.FLOAT16) for one in graph.input if one.name in ends]
    last = [_cast(ends[one.name], one.name, onnx.TensorProto.FLOAT) for one in graph.output if one.name in ends]
    del graph.node[:]
    graph.node.extend([*first, *nodes, *last])


def _is_single(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], f"cast_{target}", to=to)
