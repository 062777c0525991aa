"""The files from which FiftyOne's App runs SAM 2 in the browser, made of official weights. Known from the App of FiftyOne 1.22.

Encoder: `image` float32 [1, 3, 1024, 1024], resized without padding and normalised, to `image_embed` [1, 256, 64, 64],
`high_res_feats_0` [1, 32, 256, 256] and `high_res_feats_1` [1, 64, 128, 128]. Decoder: these, `point_coords` [1, N, 2] in the
1024 pixels, `point_labels` float32 [1, N], `mask_input` [1, 1, 256, 256] and `has_mask_input` [1], to `masks` [1, M, 256, 256]
(logits) and `iou_predictions` [1, M], of which the App takes the best.
"""

from __future__ import annotations

from pathlib import Path

from locara_label.engine.loading import CLASSIC, PROMPT_TASK, find_row
from locara_label.errors import BadOption
from locara_label.runtime.onnx_file import OnnxFile, onnx_file
from locara_label.runtime.skeleton import open_skeleton
from locara_label.settings import Settings
from locara_label.weights.tensors import open_tensors

ENCODER, DECODER = "encoder.with_runtime_opt.ort", "decoder.onnx"
FOLDER = "/fiftyone/sam2"
PATHS = (f"{FOLDER}/{ENCODER}", f"{FOLDER}/{DECODER}")
"""Where a server has them."""
SIDE_PX = 1024
_EMBEDDINGS = {
    "image_embeddings.0": "high_res_feats_0",
    "image_embeddings.1": "high_res_feats_1",
    "image_embeddings.2": "image_embed",
}
_OF_VIDEO = ("object_pointers", "object_score_logits")
NAMES = {
    ENCODER: {"pixel_values": "image", **_EMBEDDINGS},
    DECODER: {**_EMBEDDINGS, "iou_scores": "iou_predictions"},
}


def browser_file(name: str, file: str, settings: Settings, *, weights: Path | None = None, any_size: bool = False) -> OnnxFile:
    """One of the two files.

    Args:
        name: of a SAM 2.1 of the catalogue whose weights are here.
        file: `ENCODER` or `DECODER`.
        settings: where weights are.
        weights: a folder that has them in place of the store.
        any_size: also of a model that takes pictures of another size, which the App cannot run.

    Raises:
        UnknownModel, NotDownloaded, BadWeights: see `Store.folder` and `onnx_file`.
        BadOption: code `option.model`; no SAM 2.1 with official weights that takes 1024 pixels.
    """
    row = None if name == CLASSIC else find_row(name, PROMPT_TASK if name == "mini" else None)
    if row is None or file not in NAMES or row.family != "sam2" or row.graph is None:
        raise BadOption(f"FiftyOne's App cannot run {name}: it takes a SAM 2.1 with official weights", code="option.model")
    part = "encoder" if file == ENCODER else "decoder"
    skeleton = open_skeleton(f"{row.graph}-{part}")
    if not any_size and skeleton.fixed_size != (SIDE_PX, SIDE_PX):
        text = f"FiftyOne's App cannot run {name}: it gives pictures of {SIDE_PX} pixels each way"
        raise BadOption(f"{text}, this takes {skeleton.fixed_size}", code="option.model")
    tensors = open_tensors(settings.store().folder(row) if weights is None else weights)
    if file == ENCODER:
        return onnx_file(skeleton, tensors, NAMES[file])
    return onnx_file(skeleton, tensors, NAMES[file], as_float=("point_labels",), without=_OF_VIDEO)
