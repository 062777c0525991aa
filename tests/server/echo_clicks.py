"""Pictures that tell which they are, and clicks on them, for servers with the echo model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from running import Client
from task_files import Files

from locara_label import images
from locara_label.types import Mask

USERS = 8
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    "<BrushLabels name='drawn' toName='image'>{labels}</BrushLabels>"
    "<KeyPointLabels name='kp' toName='image' smart='true'>{labels}</KeyPointLabels></View>"
).format(labels="".join(f"<Label value='user {user}'/>" for user in range(USERS)))


@dataclass(frozen=True)
class Pictures:
    """Some that are all different in size and content, as Label Studio has them."""

    pixels: list[np.ndarray]

    @classmethod
    def put(cls, files: Files, count: int, seed: int = 0) -> Pictures:
        made = []
        for number in range(count):
            image = np.zeros((40 + number, 60 + 2 * number, 3), np.uint8)
            image[1:, 1:] = np.random.default_rng([seed, number]).integers(0, 2, (39 + number, 59 + 2 * number, 1)) * 200
            files.content[cls.path(number)] = images.encode_png(image)
            made.append(image)
        return cls(made)

    @staticmethod
    def path(number: int) -> str:
        return f"/data/upload/1/{number}.png"

    def expected(self, number: int, x: int, y: int) -> Mask:
        """What the echo model says of a point."""
        found = self.pixels[number][..., 0] > 0
        found[y, x] = True
        return Mask.from_array(found)


def click(pictures: Pictures, number: int, x: int, y: int, *, region: str, label: str = "user 0") -> dict[str, Any]:
    """Label Studio's body for a click in the middle of a pixel."""
    height, width = pictures.pixels[number].shape[:2]
    value = {"x": 100 * (x + 0.5) / width, "y": 100 * (y + 0.5) / height, "width": 0.3, "keypointlabels": [label]}
    asked = {"original_width": width, "original_height": height, "image_rotation": 0, "value": value, "is_positive": True}
    context = {"result": [{**asked, "id": region, "from_name": "kp", "to_name": "image", "type": "keypointlabels"}]}
    return {
        "tasks": [{"id": number, "data": {"image": pictures.path(number)}}],
        "project": "1.1",
        "label_config": CONFIG,
        "params": {"context": context},
    }


def metric(client: Client, name: str) -> float:
    lines = client.get("/metrics").body.decode().splitlines()
    return next(float(line.split(" ")[1]) for line in lines if line.startswith(f"{name} "))
