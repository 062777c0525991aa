"""SAM 2 as two graphs whose state the caller holds: pictures to embeddings, embeddings and prompts to masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

EMBEDDINGS = ("image_embeddings.0", "image_embeddings.1", "image_embeddings.2")


class VisionEncoder(nn.Module):  # type: ignore[misc]
    """`pixel_values` [B, 3, S, S] to embeddings [B, D/8, S/4, S/4], [B, D/4, S/8, S/8] and [B, D, S/16, S/16].

    The names, and the "no memory" embedding added to the last one, are those of the published ONNX files.
    """

    outputs = EMBEDDINGS

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.model.vision_encoder(pixel_values, return_dict=True).fpn_hidden_states[:3]
        decoder = self.model.mask_decoder
        return decoder.conv_s0(fine), decoder.conv_s1(middle), coarse + self.model.no_memory_embedding.view(1, -1, 1, 1)


class MaskDecoder(nn.Module):  # type: ignore[misc]
    """Embeddings and P prompts to all four masks of each prompt.

    Inputs: the embeddings [1 | P, ...]; `point_coords` [P, N, 2] x and y in pixels of the S x S input; `point_labels` [P, N]
    int64: 1 inside, 0 outside, 2 and 3 the corners of a box, -1 nothing (one such point is appended here, as the reference
    does); `mask_input` [P, 1, S/4, S/4] logits of an earlier answer, used where `has_mask_input` [P] is 1.
    Outputs: `masks` [P, 4, S/4, S/4] logits, first the single answer, then three for an ambiguous prompt; `iou_scores` [P, 4];
    `object_score_logits` [P, 1].
    """

    inputs = (*EMBEDDINGS, "point_coords", "point_labels", "mask_input", "has_mask_input")
    outputs: tuple[str, ...] = ("masks", "iou_scores", "object_score_logits")

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(  # noqa: PLR0917 - the exporter names inputs by position
        self, fine: Tensor, middle: Tensor, coarse: Tensor, points: Tensor, labels: Tensor, mask_input: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, ...]:
        tokens, image = self.attend(coarse, points, labels, self.dense(mask_input, has_mask))
        return self.paint(tokens, image, fine, middle)

    def attend(self, coarse: Tensor, points: Tensor, labels: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Prompt and picture look at each other: tokens [P, 1, 6 + N + 1, D] (object, IoU, masks, points), image [P, 1, K, D]."""
        return self.model.mask_decoder.transformer(  # type: ignore[no-any-return]
            point_embeddings=self._tokens(points, labels),
            image_embeddings=coarse + dense,
            image_positional_embeddings=self._positions(coarse),
            attention_similarity=None,
        )

    def paint(self, tokens: Tensor, image: Tensor, fine: Tensor, middle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs, from what `attend` gives."""
        decoder, side = self.model.mask_decoder, self.model.prompt_encoder.image_embedding_size[0]
        image = image.transpose(2, 3).reshape(-1, image.shape[3], side, side)
        image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image) + middle))
        image = decoder.activation(decoder.upscale_conv2(image) + fine)
        kinds = decoder.num_mask_tokens
        mask_tokens = tokens[:, 0, 2 : 2 + kinds]
        weights = torch.stack([head(mask_tokens[:, i]) for i, head in enumerate(decoder.output_hypernetworks_mlps)], 1)
        masks = (weights @ image.flatten(2)).view(-1, kinds, 4 * side, 4 * side)
        return masks, decoder.iou_prediction_head(tokens[:, 0, 1]), decoder.pred_obj_score_head(tokens[:, 0, 0])

    def _positions(self, coarse: Tensor) -> Tensor:
        """What the model's own method gives, made from an input so that the exporter keeps the formula and stores no table."""
        grid = torch.ones_like(coarse[0, 0])
        cells = torch.stack([grid.cumsum(1), grid.cumsum(0)], -1) - 0.5
        return self.model.shared_image_embedding(cells / coarse.shape[-1]).permute(2, 0, 1).unsqueeze(0)

    def _tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        decoder = self.model.mask_decoder
        prompt = self.model.prompt_encoder._embed_points(  # noqa: SLF001 - points alone have no public way
            points.unsqueeze(1), labels.unsqueeze(1), pad=True
        )
        learned = torch.cat([decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight], 0)
        return torch.cat([learned[None, None].expand(prompt.shape[0], 1, -1, -1), prompt], 2)

    def dense(self, mask_input: Tensor, has_mask: Tensor) -> Tensor:
        prompt_encoder = self.model.prompt_encoder
        given = has_mask.view(-1, 1, 1, 1)
        nothing = prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return prompt_encoder.mask_embed(mask_input) * given + nothing * (1 - given)
