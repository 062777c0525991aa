"""Weights of SAM 2.1 without a network: random numbers under the official names, tuned so that masks are regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors.numpy import save_file

from locara_label.runtime.skeleton import Initializer, open_skeleton

SCORES = "mask_decoder.iou_prediction_head.proj_out.bias"
PARTS = ("encoder", "decoder")

Floats = NDArray[np.float32]


def write_weights(folder: Path, name: str = "sam2.1-hiera-tiny", seed: int = 1) -> Path:
    """A folder with the model.safetensors of a model whose masks depend on the picture and on every click."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    wanted = [one for part in PARTS for one in open_skeleton(f"{name}-{part}").initializers]
    assert all(one.offset == 0 for one in wanted), "parts of tensors are not made here"
    save_file({one.tensor: numbers(one, chance) for one in wanted}, folder / "model.safetensors")
    return folder


def numbers(wanted: Initializer, chance: Generator) -> Floats:
    """Signals neither die nor grow through the depth; what is said otherwise makes regions instead of noise."""
    noise = chance.standard_normal([int(dim) for dim in wanted.shape], np.float32)
    if wanted.tensor == SCORES:
        return np.array([-1, 0, 2, 0], np.float32)  # which mask is the best must not hang on rounding
    if wanted.tensor.endswith(".weight") and "norm" in wanted.tensor:
        return 1 + noise / 10
    if wanted.tensor.endswith(("point_embed.weight", "positional_embedding")):  # what a click is
        return noise
    return spread(wanted.tensor, noise) if noise.ndim > 1 else noise / 10


def spread(name: str, noise: Floats) -> Floats:
    """A matrix or kernel, scaled by what it sums over."""
    if "upscale_conv" in name:  # one number for all places, as otherwise every mask is a grid
        return np.ascontiguousarray(np.broadcast_to(noise[:, :, :1, :1], noise.shape)) / np.float32(len(noise) ** 0.5)
    scaled = noise / np.float32(noise[0].size ** 0.5)
    if "mask_decoder.conv_s" in name:  # fine detail of the picture
        return scaled * np.float32(0.3)
    return scaled * np.float32(4) if "cross_attn" in name and name.endswith("q_proj.weight") else scaled
