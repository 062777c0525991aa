"""What the click panel shows: a picture of a size to look at, and a mask as a layer over it.

The App sends all that a panel shows back with each of its events, so the picture is a file that the browser fetches once.
"""

from __future__ import annotations

import atexit
import base64
import shutil
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray

from locara_label import geometry, images, overlay
from locara_label.hosts.fiftyone.clicks import Place
from locara_label.hosts.fiftyone.labels import Size
from locara_label.types import Mask

LONGEST_PX = 1024
COLOUR = (255, 109, 4)
LINE = (255, 255, 255)
_LINE = 255
"""Index of the colour of a mask's border; those below are steps of opacity."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Shown:
    """A picture as it is shown.

    Attributes:
        file: a JPEG, which is there as long as this is.
        size: height and width of that JPEG in pixels.
        full: height and width of the picture itself in pixels.
    """

    file: Path
    size: Size
    full: Size

    @property
    def url(self) -> str:
        """Where the App's server has the file."""
        return f"{(fo.app_config.proxy_url or '').rstrip('/')}/media?filepath={quote(str(self.file), safe='')}"

    def to_full(self, row: float, column: float) -> tuple[float, float]:
        """X and y in pixels of the picture, of the centre of a pixel that is shown."""
        (height, width), (tall, wide) = self.size, self.full
        return (column + 0.5) * wide / width, (row + 0.5) * tall / height

    def to_shown(self, x: float, y: float) -> tuple[float, float]:
        """The opposite: x and y on the axes of the plot, where the first pixel's centre is at 0."""
        (height, width), (tall, wide) = self.size, self.full
        return x * width / wide - 0.5, y * height / tall - 0.5


@dataclass(frozen=True, slots=True)
class Look:
    """How a mask is drawn: opacity 0..1, and the width in pixels of its soft edge. The mask itself stays as it is."""

    opacity: float = 0.5
    feather_px: float = 0


def shown(place: Place) -> Shown:
    """A picture or frame.

    Raises:
        BadImage, BadVideo, BadOption: see `Place.read`.
    """
    image = place.read()
    full = (int(image.shape[0]), int(image.shape[1]))
    size = shown_size(full)
    small = image if size == full else geometry.resize_bilinear(image, size)
    found = Shown(_file(images.encode_jpeg(small)), size, full)
    weakref.finalize(found, _forget, found.file)
    return found


@lru_cache(maxsize=1)
def _folder() -> str:
    """For this process."""
    folder = tempfile.mkdtemp(prefix="locara-label-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file(content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=_folder(), suffix=".jpg", delete=False) as file:
        file.write(content)
    return Path(file.name)


def _forget(file: Path) -> None:
    with suppress(OSError):
        file.unlink()


def shown_size(full: Size) -> Size:
    """At most `LONGEST_PX` on the longer side."""
    scale = min(1.0, LONGEST_PX / max(full))
    return max(1, round(full[0] * scale)), max(1, round(full[1] * scale))


def layer(mask: Mask | None, size: Size, look: Look) -> str:
    """A data URI of a PNG of a size, clear where nothing is painted; all of it where there is no mask.

    Its pixels are indices of a palette of opacities, which is much quicker to write than colours are.
    """
    steps = np.zeros(size, np.uint8)
    if mask is not None:
        share = geometry.shrink_mask(mask.to_array(), size)
        steps = np.rint(_soft(share, look.feather_px) * np.float32(_LINE - 1)).astype(np.uint8)
        steps[geometry.boundary(share >= 0.5)] = _LINE
    opacities = np.rint(np.linspace(0, 255 * look.opacity, _LINE)).astype(np.uint8)
    palette = np.concatenate([np.broadcast_to(np.array(COLOUR, np.uint8), (_LINE, 3)), [LINE]]).astype(np.uint8)
    content = images.encode_png(steps, palette, np.append(opacities, np.uint8(255)))
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def _soft(share: NDArray[np.float32], feather_px: float) -> NDArray[np.float32]:
    if feather_px <= 0:
        return share
    paint = np.zeros((*share.shape, 3), np.uint8)
    return overlay.cutout(paint, share, feather_px)[..., 3].astype(np.float32) / np.float32(255)
