"""SAM 2's memory as graphs whose state the caller holds: masks to memories, memories into the next frame.

Everything that is a formula of the position (sines, rotations) is computed in the graphs, so that they stay without weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.sam2_modules import EMBEDDINGS, MaskDecoder

COARSE = EMBEDDINGS[2]
"""As the encoder gives it, "no memory" embedding included; the memory works on the features without it."""


def _plain(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """One head of attention over [B, N, D]."""
    return functional.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=scale)[:, 0]


@torch.library.custom_op("locara::attention", mutates_args=())  # type: ignore[untyped-decorator]
def _attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """The same; in a graph the fused operator of ONNX Runtime, which never holds all scores."""
    return _plain(query, key, value, scale)


@_attention.register_fake  # type: ignore[untyped-decorator]
def _(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:  # noqa: ARG001 - the signature of the operator
    return query.new_empty(*query.shape[:2], value.shape[2])


def _fused(graph: Any, query: Any, key: Any, value: Any, scale: Any) -> Any:
    number = torch.onnx.symbolic_helper._maybe_get_const(scale, "f")  # noqa: SLF001 - how symbolics read their constants
    found = graph.op("com.microsoft::MultiHeadAttention", query, key, value, num_heads_i=1, scale_f=number)
    return found.setType(query.type().with_sizes([None, None, None]))


torch.onnx.register_custom_op_symbolic("locara::attention", _fused, 17)


def _grid(level: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each cell of [B, D, h, w], counted from one: [h, w] each."""
    ones = torch.ones_like(level[0, 0])
    return ones.cumsum(0), ones.cumsum(1)


def _sines(level: Tensor, channels: int) -> Tensor:
    """Sine positions of the cells, rows before columns: [1, h w, channels]. Source: Vaswani et al. 2017, in DETR's 2-D form."""
    half = channels // 2
    rates = 10000 ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)
    parts = []
    for axis, grid in enumerate(_grid(level)):
        share = grid / (grid.amax(axis, keepdim=True) + 1e-6) * (2 * math.pi)
        angle = share[..., None] / rates
        parts.append(torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], -1).flatten(-2))
    return torch.cat(parts, -1).flatten(0, 1)[None]


class PointingDecoder(MaskDecoder):
    """The mask decoder of a video model: each mask comes with the object's pointer, `object_pointers` [P, 4, D].

    Where the model takes the object to be out of sight (`object_score_logits` not above zero), all are the "no object" pointer.
    """

    outputs = (*MaskDecoder.outputs, "object_pointers")

    def forward(  # noqa: PLR0917 - the exporter names inputs by position
        self, fine: Tensor, middle: Tensor, coarse: Tensor, points: Tensor, labels: Tensor, mask_input: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, ...]:
        tokens, image = self.attend(coarse, points, labels, self.dense(mask_input, has_mask))
        masks, iou, scores = self.paint(tokens, image, fine, middle)
        return masks, iou, scores, self.point(tokens, scores)

    def point(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """Pointers [P, 4, D] of the tokens that `attend` gives."""
        seen = (scores > 0).to(tokens.dtype)[:, None]
        kinds = self.model.mask_decoder.num_mask_tokens
        return seen * self.model.object_pointer_proj(tokens[:, 0, 2 : 2 + kinds]) + (1 - seen) * self.model.no_object_pointer


class MemoryEncoder(nn.Module):  # type: ignore[misc]
    """What a frame's answer leaves behind for later frames.

    Inputs: the coarsest embedding [1, D, h, w]; `mask_logits` [B, 1, any, any]; `object_score_logits` [B, 1]; `binarize` [B], 1
    where the mask is from a person. Output: `memory` [B, C, h, w], rounded to bfloat16 as the reference keeps it.
    """

    inputs = (COARSE, "mask_logits", "object_score_logits", "binarize")
    outputs = ("memory",)

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, coarse: Tensor, mask_logits: Tensor, scores: Tensor, binarize: Tensor) -> Tensor:
        model, encoder = self.model, self.model.memory_encoder
        features = coarse - model.no_memory_embedding.view(1, -1, 1, 1)
        logits = functional.interpolate(mask_logits, size=(model.image_size,) * 2, mode="bilinear", align_corners=False)
        hard = binarize.view(-1, 1, 1, 1)
        mask = hard * (logits > 0) + (1 - hard) * torch.sigmoid(logits)
        mask = encoder.mask_downsampler(mask * model.config.sigmoid_scale_for_mem_enc + model.config.sigmoid_bias_for_mem_enc)
        memory = encoder.projection(encoder.memory_fuser(encoder.feature_projection(features) + mask))
        if model.occlusion_spatial_embedding_parameter is not None:
            gone = (scores <= 0).to(memory.dtype)[:, :, None, None]
            memory = memory + gone * model.occlusion_spatial_embedding_parameter[..., None, None]
        return memory.to(torch.bfloat16).float()


class MemoryAttention(nn.Module):  # type: ignore[misc]
    """A frame's features in the light of what is remembered of B objects.

    Inputs: the coarsest embedding [1, D, h, w]; `memory` [B, M, C, h, w]; `memory_offsets` [M] int64, how many frames away each
    is, 0 for a frame with a prompt; `object_pointers` [B, P, D]; `pointer_offsets` [P], how many frames away, as a share of the
    farthest that counts. Output: `conditioned_embeddings` [B, D, h, w], for the mask decoder.
    """

    inputs = (COARSE, "memory", "memory_offsets", "object_pointers", "pointer_offsets")
    outputs = ("conditioned_embeddings",)

    def __init__(self, model: Any) -> None:
        super().__init__()
        if model.config.memory_attention_num_attention_heads != 1:
            raise ValueError("the graph is for one head")
        self.model = model
        self.eval()

    def forward(
        self, coarse: Tensor, memory: Tensor, memory_offsets: Tensor, pointers: Tensor, pointer_offsets: Tensor
    ) -> Tensor:
        model, (batch, count, channels) = self.model, memory.shape[:3]
        features = (coarse - model.no_memory_embedding.view(1, -1, 1, 1)).flatten(2).transpose(1, 2)
        frame = features + 0.1 * _sines(coarse, model.hidden_dim)
        cells = memory.flatten(3).transpose(2, 3)
        times = model.memory_temporal_positional_encoding[memory_offsets - 1, 0, 0][None, :, None]
        keys = (cells + _sines(coarse, channels)[:, None] + times).flatten(1, 2)
        tokens, token_keys = self._pointers(pointers, pointer_offsets, channels)
        values = torch.cat([cells.flatten(1, 2), tokens], 1)
        turn = Turn(coarse, model.memory_attention.rotary_emb.inv_freq)
        for layer in model.memory_attention.layers:
            # Until here the first layer is the same for all objects.
            frame = (frame + _self_attention(layer.self_attn, layer.layer_norm1(frame), turn)).expand(batch, -1, -1)
            query = turn.once(_halved(layer.cross_attn_image.q_proj, layer.layer_norm2(frame)))
            key = turn.each(_halved(layer.cross_attn_image.k_proj, keys), count)
            key = torch.cat([key, _halved(layer.cross_attn_image.k_proj, token_keys)], 1)
            frame = frame + _attend(layer.cross_attn_image, query, key, values)
            frame = frame + layer.linear2(layer.activation(layer.linear1(layer.layer_norm3(frame))))
        return model.memory_attention.layer_norm(frame).transpose(1, 2).reshape(batch, -1, *coarse.shape[2:])

    def _pointers(self, pointers: Tensor, offsets: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        """Pointers cut into tokens of C channels, without and with their positions in time."""
        batch, count = pointers.shape[:2]
        parts = self.model.hidden_dim // self.model.mem_dim
        tokens = pointers.reshape(batch, count * parts, channels)
        if not self.model.config.enable_temporal_pos_encoding_for_object_pointers:
            return tokens, tokens
        half = self.model.hidden_dim // 2
        rates = 10000 ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)
        angle = offsets[:, None] / rates
        when = self.model.temporal_positional_encoding_projection_layer(torch.cat([angle.sin(), angle.cos()], -1))
        return tokens, tokens + when[:, None].expand(-1, parts, -1).reshape(1, count * parts, channels)


class Turn:
    """Rotary positions of a grid, for vectors whose pairs lie in two halves. Source: Su et al. 2021, in SAM 2's axial form."""

    def __init__(self, level: Tensor, rates: Tensor) -> None:
        down, right = _grid(level)
        angle = torch.cat([(right - 1).flatten()[:, None] * rates, (down - 1).flatten()[:, None] * rates], -1)
        self.cosine, self.sine = angle.cos(), angle.sin()

    def once(self, vectors: Tensor) -> Tensor:
        """[..., h w, D] turned by the cells' positions."""
        half = self.cosine.shape[-1]
        one, other = vectors[..., :half], vectors[..., half:]
        return torch.cat([one * self.cosine - other * self.sine, other * self.cosine + one * self.sine], -1)

    def each(self, vectors: Tensor, count: int) -> Tensor:
        """[B, M h w, D], each of M grids by itself."""
        batch, _, depth = vectors.shape
        return self.once(vectors.view(batch, count, -1, depth)).flatten(1, 2)


def _halved(projection: nn.Linear, tokens: Tensor) -> Tensor:
    """A projection with the pairs of its result in two halves; products of two such vectors are the same."""
    order = torch.cat([torch.arange(0, projection.out_features, 2), torch.arange(1, projection.out_features, 2)])
    return functional.linear(tokens, projection.weight[order], projection.bias[order])


def _self_attention(attention: Any, tokens: Tensor, turn: Turn) -> Tensor:
    query, key = (turn.once(_halved(part, tokens)) for part in (attention.q_proj, attention.k_proj))
    return _attend(attention, query, key, tokens)


def _attend(attention: Any, query: Tensor, key: Tensor, source: Tensor) -> Tensor:
    """The values are projected after they are weighed: the weights of a token sum to one, and memories have few channels."""
    operator = torch.ops.locara.attention if torch.onnx.is_in_onnx_export() else _plain
    return attention.o_proj(attention.v_proj(operator(query, key, source, float(attention.scaling))))


class MaskPrompt(nn.Module):  # type: ignore[misc]
    """A mask that is given, in the form in which the decoder and the memory take it.

    Inputs: the coarsest embedding [1, D, h, w]; `mask` [B, 1, S, S] of zeros and ones. Outputs: `mask_input` [B, 1, S/4, S/4]
    and `plain_embeddings` [1, D, h, w] for the decoder, which then gives the object's pointer; `absent_pointer` [1, D], the
    pointer for an empty mask.
    """

    inputs = (COARSE, "mask")
    outputs = ("mask_input", "plain_embeddings", "absent_pointer")

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, coarse: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        plain = coarse - self.model.no_memory_embedding.view(1, -1, 1, 1)
        return self.model.mask_downsample(mask), plain, self.model.no_object_pointer * 1.0
