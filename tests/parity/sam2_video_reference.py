"""The reference for tracking: transformers' video model and session, driven frame by frame."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.models.sam2 import clicks_of
from locara_label.types import Prompt

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class Sam2VideoReference:
    """A folder in the hub's layout and `Sam2VideoModel` with the same numbers, with one session on some frames.

    Attributes:
        frames: RGB uint8 [S, S, 3], of the model's own size, so that nothing is resized.
    """

    folder: Path
    model: Any
    frames: list[NDArray[np.uint8]]
    session: Any = field(init=False)

    def __post_init__(self) -> None:
        import torch
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        side = self.model.image_size
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        planes = [(torch.from_numpy(frame.copy()).permute(2, 0, 1).float() / 255 - mean) / std for frame in self.frames]
        self.session = Sam2VideoInferenceSession(torch.stack(planes), side, side, dtype=torch.float32)

    def step(self, frame: int, prompts: dict[int, Prompt], *, reverse: bool = False) -> dict[int, tuple[Any, float]]:
        """By object: logits [S/4, S/4] and presence."""
        for number, prompt in prompts.items():
            self._prompt(frame, number, prompt)
        found = self.model(self.session, frame_idx=frame, reverse=reverse)
        scores = found.object_score_logits.reshape(-1)
        pairs = zip(found.pred_masks[:, 0].numpy(), scores.tolist(), strict=True)
        return dict(zip(self.session.obj_ids, pairs, strict=True))

    def _prompt(self, frame: int, number: int, prompt: Prompt) -> None:
        import torch

        side, at = self.model.image_size, self.session.obj_id_to_idx(number)
        if prompt.mask is not None:
            mask = torch.from_numpy(prompt.mask.to_array().astype(np.float32).copy())
            self.session.add_mask_inputs(at, frame, mask[None, None])
        else:
            points, labels = (torch.from_numpy(part)[None, None] for part in clicks_of(prompt, (side, side), side))
            self.session.add_point_inputs(at, frame, {"point_coords": points, "point_labels": labels})
            self.session.remove_mask_inputs(at, frame)
        if number not in self.session.obj_with_new_inputs:
            self.session.obj_with_new_inputs.append(number)


def randomised(config: Any, folder: Path, seed: int, presence: float) -> Any:
    """A `Sam2VideoModel` whose objects come and go, written to a folder with its processor; `presence` moves how often."""
    import torch
    from transformers import Sam2VideoModel

    model, generator = Sam2VideoModel(config).eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(presence)
        shared = model.shared_image_embedding.positional_embedding
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(shared)
    model.save_pretrained(folder)
    size = {"height": model.image_size, "width": model.image_size}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    return model
