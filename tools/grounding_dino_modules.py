"""Grounding DINO as three graphs: pictures to features, prompts to features, both to boxes.

Features of a picture serve every prompt, features of a prompt serve every picture. Sizes are free: what the library computes from
Python numbers (shapes, positions, points to look at) is computed from the tensors themselves here, so that the exporter keeps it.
One picture and one prompt at a time, neither padded, hence no masks of padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.onnx.operators import shape_as_tensor

LEVELS = tuple(f"features.{level}" for level in range(4))
PATCH = 4
"""Of the Swin transformer, in pixels."""


class ImageEncoder(nn.Module):  # type: ignore[misc]
    """`pixel_values` [1, 3, H, W] to four levels of features [1, D, h, w], at 1/8, 1/16, 1/32 and 1/64 of the size."""

    inputs = ("pixel_values",)
    outputs = LEVELS
    example = (131, 291)
    """A size for which every stage pads, with windows of 7, 8 and 12: what was not done when traced would never be done."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model
        self.eval()

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        height, width = pixel_values.shape[-2:]
        whole = functional.pad(pixel_values, (0, -width % PATCH, 0, -height % PATCH))
        maps = self.model.backbone.conv_encoder.model(whole, return_dict=True).feature_maps
        *projections, smallest = self.model.input_proj_vision
        levels = [project(level) for project, level in zip(projections, maps, strict=True)]
        return *levels, smallest(maps[-1])


class TextEncoder(nn.Module):  # type: ignore[misc]
    """Tokens of one prompt to their features [1, N, D].

    Inputs: `input_ids` [1, N] int64; `position_ids` [1, N] int64, counted in each phrase; `attention` [1, N, N], 1 where a token
    sees another: those of its own phrase.
    """

    inputs = ("input_ids", "position_ids", "attention")
    outputs = ("text_features",)

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model
        self.eval()

    def forward(self, input_ids: Tensor, position_ids: Tensor, attention: Tensor) -> Tensor:
        bert = self.model.text_backbone
        hidden = bert.embeddings(input_ids=input_ids, position_ids=position_ids, token_type_ids=torch.zeros_like(input_ids))
        unseen = (1 - attention[:, None]) * torch.finfo(torch.float32).min
        for layer in bert.encoder.layer:
            hidden = layer(hidden, unseen)
        return self.model.text_projection(hidden)


class Detector(nn.Module):  # type: ignore[misc]
    """Features of a picture and of a prompt to Q boxes.

    Inputs: the four levels; `text_features` [1, N, D], `position_ids` and `attention` as the text encoder has them.
    Outputs: `logits` [1, Q, N] of every query for every token; `pred_boxes` [1, Q, 4], centre and size as shares of the picture.
    """

    inputs = (*LEVELS, "text_features", "position_ids", "attention")
    outputs = ("logits", "pred_boxes")

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.whole, self.model = model, model.model
        for layer in self.model.encoder.layers:
            layer.deformable_layer.self_attn.attn = Sampling()
        for layer in self.model.decoder.layers:
            layer.encoder_attn.attn = Sampling()
        self.eval()

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        levels, (text, position_ids, attention) = given[:4], given[4:]
        shapes = torch.stack([shape_as_tensor(level)[2:] for level in levels])
        vision, text = self._encode(levels, shapes, text, position_ids, attention)
        return self._decode(vision, text, levels, shapes)

    def _encode(
        self, levels: Sequence[Tensor], shapes: Tensor, text: Tensor, position_ids: Tensor, attention: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What picture and prompt become after looking at each other: [1, S, D] and [1, N, D]."""
        vision = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)
        position = self._positions(levels)
        middles = torch.cat([_middles(level) for level in levels], 1)[:, :, None].expand(-1, -1, len(levels), -1)
        nothing = torch.zeros_like(vision[..., 0]) > 0
        for layer in self.model.encoder.layers:
            (vision, text), _ = layer(
                vision_features=vision,
                vision_position_embedding=position,
                spatial_shapes=shapes,
                spatial_shapes_list=levels,
                level_start_index=None,
                key_padding_mask=nothing,
                reference_points=middles,
                text_features=text,
                text_self_attention_masks=attention < 1,
                text_position_ids=position_ids,
            )
        return vision, text

    def _positions(self, levels: Sequence[Tensor]) -> Tensor:
        embed = self.model.backbone.position_embedding
        return torch.cat(
            [
                embed(level, torch.ones_like(level[:, 0])).flatten(2).transpose(1, 2) + self.model.level_embed[at]
                for at, level in enumerate(levels)
            ],
            1,
        )

    def _decode(self, vision: Tensor, text: Tensor, levels: Sequence[Tensor], shapes: Tensor) -> tuple[Tensor, Tensor]:
        reference = self._proposals(vision, text, levels)
        hidden, decoder = self.model.query_position_embeddings.weight[None], self.model.decoder
        said, boxes = hidden, reference
        for at, layer in enumerate(decoder.layers):
            hidden = layer(
                hidden_states=hidden,
                position_embeddings=decoder.reference_points_head(_sines(reference, hidden.shape[-1] // 2)),
                reference_points=reference[:, :, None].expand(-1, -1, len(levels), -1),
                spatial_shapes=shapes,
                spatial_shapes_list=levels,
                level_start_index=None,
                vision_encoder_hidden_states=vision,
                vision_encoder_attention_mask=None,
                text_encoder_hidden_states=text,
                text_encoder_attention_mask=None,
            )[0]
            said, start = decoder.layer_norm(hidden), _logit(reference)
            boxes = (self.whole.bbox_embed[at](said) + start).sigmoid()
            reference = (decoder.bbox_embed[at](hidden) + start).sigmoid()
        return said @ text.transpose(1, 2), boxes

    def _proposals(self, vision: Tensor, text: Tensor, levels: Sequence[Tensor]) -> Tensor:
        """The encoder's best boxes [1, Q, 4]: where a cell matches some token most."""
        model = self.model
        anchors = torch.cat([_anchors(level, at) for at, level in enumerate(levels)], 1)
        valid = ((anchors > 0.01) & (anchors < 0.99)).all(-1, keepdim=True)
        cells = model.enc_output_norm(model.enc_output(vision * valid))
        best = torch.topk((cells @ text.transpose(1, 2)).max(-1)[0], model.config.num_queries, dim=1)[1]
        picked = best[..., None].expand(-1, -1, 4)
        # A cell at the border that wins all the same has the box that the library's infinite logits give.
        boxes = torch.where(valid, (model.encoder_output_bbox_embed(cells) + _raw_logit(anchors)).sigmoid(), 1.0)
        return torch.gather(boxes, 1, picked)


class Sampling(nn.Module):  # type: ignore[misc]
    """The library's deformable attention, with the levels themselves in place of the numbers that are their sizes."""

    def forward(
        self, value: Tensor, _: Tensor, levels: Sequence[Tensor], __: Any, locations: Tensor, weights: Tensor, ___: int
    ) -> Tensor:
        batch, _cells, heads, channels = value.shape
        queries, points = locations.shape[1], locations.shape[4]
        grids, shares = 2 * locations - 1, weights.transpose(1, 2).reshape(batch * heads, queries, len(levels), points)
        start, total = 0, torch.zeros(1)
        for index, level in enumerate(levels):
            height, width = level.shape[-2:]
            part = value[:, start : start + height * width].permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
            grid = grids[:, :, :, index].transpose(1, 2).reshape(batch * heads, queries, points, 2)
            found = functional.grid_sample(part, grid, align_corners=False)
            # Summed level by level: all of them side by side would be the largest tensor of the graph.
            total = total + (found * shares[:, None, :, index]).sum(-1)
            start = start + height * width
        return total.view(batch, heads * channels, queries).transpose(1, 2)


def _middles(level: Tensor) -> Tensor:
    """x and y of each cell's middle as shares of the picture, [1, h w, 2]."""
    ones = torch.ones_like(level[:, 0])
    down, right = ones.cumsum(1), ones.cumsum(2)
    return torch.stack([(right - 0.5) / right[:, :, -1:], (down - 0.5) / down[:, -1:]], -1).flatten(1, 2)


def _anchors(level: Tensor, at: int) -> Tensor:
    middles = _middles(level)
    return torch.cat([middles, torch.full_like(middles, 0.05 * 2.0**at)], -1)


def _logit(share: Tensor) -> Tensor:
    return _raw_logit(share.clamp(1e-5, 1 - 1e-5))


def _raw_logit(share: Tensor) -> Tensor:
    return torch.log(share / (1 - share))


def _sines(boxes: Tensor, channels: int) -> Tensor:
    """Sines and cosines of each coordinate, y before x as in DETR: [1, Q, 4 channels]."""
    from transformers.models.grounding_dino.modeling_grounding_dino import encode_sinusoidal_position_embedding

    return encode_sinusoidal_position_embedding(boxes, num_pos_feats=channels)
