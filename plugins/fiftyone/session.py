"""What one click panel is about: its sample, what was clicked, and the masks that follow from it.

Settings are in the panel's state, which the App saves with its layout. Each change of that makes the App draw all its panels
anew, so what changes with every click is kept in this process, as pictures and masks are; a restart forgets the clicks.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from locara_label.engine.loading import CLASSIC
from locara_label.errors import BadOption, LocaraError
from locara_label.hosts.fiftyone.background import RUNS, Run
from locara_label.hosts.fiftyone.canvas import Look, Shown, shown
from locara_label.hosts.fiftyone.clicks import Act, Clicking, Kept, Place, clicking
from locara_label.hosts.fiftyone.labels import Region
from locara_label.hosts.fiftyone.remote import Follow
from locara_label.hosts.fiftyone.samples import check_field
from locara_label.remote import server_address
from locara_label.types import Mask
from locara_label.weights.states import State

DEFAULTS: dict[str, Any] = {
    "model": CLASSIC, "mode": "points", "label": "object", "field": "clicks", "text": "", "opacity": 0.5, "feather": 0,
    "invert": False, "frame": 1, "frames": 150, "video_model": CLASSIC, "accept": False, "place": 0,
    "acts": [], "candidate": 0, "words": "", "saved": 0,
}  # fmt: skip
"""Settings and what was clicked; `sample`, `corner` (of a box) and `object` (of a video) may be missing."""
CLICKED = frozenset({"acts", "candidate", "corner", "words", "saved"})
"""Those that are kept here, by panel."""
_CLICKED: Kept[str, dict[str, Any]] = Kept(256)
_PICTURES: Kept[str, Shown] = Kept(16)


class Session:
    """One event of a panel."""

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self._sample: Any = None
        self._regions: list[Region] | None = None

    @property
    def _clicked(self) -> dict[str, Any]:
        return _CLICKED.of(self.ctx.panel_id, dict)

    def get(self, name: str) -> Any:
        found = self._clicked.get(name) if name in CLICKED else self.ctx.panel.get_state(name)
        return DEFAULTS.get(name) if found is None else found

    def set(self, **values: Any) -> None:
        """Keeps values; those of the state in one message to the App, if they are new."""
        self._regions = None
        self._clicked.update({name: value for name, value in values.items() if name in CLICKED})
        settings = {name: value for name, value in values.items() if name not in CLICKED}
        fresh = {name: value for name, value in settings.items() if value != self.get(name)}
        self._applied.update(settings)
        if fresh:
            self.ctx.panel.state.set(fresh)

    @property
    def _applied(self) -> dict[str, Any]:
        """The settings that were acted on; the App puts the values of some inputs into the state before it says so."""
        found: dict[str, Any] = self._clicked.setdefault("applied", {})
        return found

    def apply(self, name: str, value: Any) -> bool:
        """Takes the value of an input; says whether it is another than before."""
        before = self._applied.get(name, DEFAULTS.get(name))
        self.set(**{name: value})
        return bool(value != before)

    @property
    def clicking(self) -> Clicking:
        address = server_address()
        return clicking(None if address is None else address.shown)

    # the sample

    @property
    def sample(self) -> Any:
        """The one that was chosen last; None where there is none any more."""
        if self._sample is None and self.get("sample") is not None and self.ctx.dataset is not None:
            with suppress(KeyError):
                self._sample = self.ctx.dataset[self.get("sample")]
        return self._sample

    def choose(self) -> None:
        """Turns to the sample that is open, else selected, else at the panel's place in the view; forgets clicks on another."""
        found = self.ctx.current_sample or (self.ctx.selected[0] if self.ctx.selected else None)
        if found is None and self.ctx.dataset is not None:
            found = next(iter(self.ctx.view.skip(int(self.get("place"))).limit(1).values("id")), None)
        if found != self.get("sample"):
            self._sample = None
            self.set(sample=found, acts=[], corner=None, candidate=0, words="", saved=0, object=None, frame=1)

    def move(self, by: int) -> None:
        """To the next sample of the view, or the one before."""
        self.set(place=(int(self.get("place")) + by) % max(len(self.ctx.view), 1))

    @property
    def sample_id(self) -> str:
        if self.sample is None:
            raise BadOption("there is no sample", code="option.sample")
        return str(self.sample.id)

    @property
    def is_video(self) -> bool:
        return self.sample is not None and self.sample.media_type == "video"

    @property
    def key(self) -> str:
        return f"{self.ctx.dataset.name}/{self.sample_id}"

    @property
    def frame(self) -> int:
        return max(1, round(float(self.get("frame"))))

    @property
    def frame_count(self) -> int:
        """Of a video; 1 where nobody counted them."""
        known = self.sample.metadata
        return int(getattr(known, "total_frame_count", None) or 1)

    @property
    def place(self) -> Place | None:
        if self.sample is None:
            return None
        return Place(self.sample.filepath, self.frame if self.is_video else None)

    @property
    def shown(self) -> Shown | None:
        """The picture as it is shown; None where there is none."""
        place = self.place
        return None if place is None else _PICTURES.of(place.key, lambda: shown(place))

    # what was done

    @property
    def acts(self) -> list[Act]:
        return list(self.get("acts"))

    def act(self, act: Act) -> None:
        self.set(acts=[*self.acts, act], candidate=0, words="")

    @property
    def candidates(self) -> int:
        """How many masks there are to choose from."""
        place = self.place
        if not self.acts or place is None:
            return 0
        return len(self.clicking.answer(self.model, place, self.acts))

    @property
    def regions(self) -> list[Region]:
        """What would be saved: the mask of the clicks, or all that the words found."""
        if self._regions is None:
            self._regions = list(self._asked())
        return self._regions

    def _asked(self) -> list[Region]:
        place = self.place
        if place is None:
            return []
        if self.get("words"):
            found = self.clicking.find(str(self.get("words")), place)
            return [self._inverted(one) for one in found] if self.inverts else found
        if not self.acts:
            return []
        answers = self.clicking.answer(self.model, place, self.acts)
        best = answers[int(self.get("candidate")) % len(answers)]
        number = self.get("object")
        region = Region(self.label, best.mask, best.score, best.score, None if number is None else int(number))
        return [self._inverted(region) if self.inverts else region]

    @staticmethod
    def _inverted(region: Region) -> Region:
        rest = Mask.from_array(~region.mask.to_array())
        if not rest.area:
            raise BadOption("the mask is the whole picture: nothing is left when it is inverted", code="option.invert")
        return region.with_mask(rest)

    @property
    def mask(self) -> Mask | None:
        """All that is drawn."""
        found = [region.mask for region in self.regions]
        return found[0].union(*found[1:]) if found else None

    # how it is done

    @property
    def model(self) -> str:
        return "" if self.clicking.server is not None else str(self.get("model"))

    @property
    def video_model(self) -> str:
        return str(self.get("video_model"))

    @property
    def follow(self) -> str | Follow:
        """What follows objects: a model of this process, or the one of a server."""
        server = self.clicking.server
        return self.video_model if server is None else Follow(server)

    @property
    def most_frames(self) -> int:
        return max(1, int(self.get("frames")))

    @property
    def label(self) -> str:
        return str(self.get("label")).strip() or "object"

    @property
    def labels(self) -> list[str]:
        """The classes that the field is known to have."""
        path = f"frames.{self.field}" if self.is_video else self.field
        schema = (self.ctx.dataset.label_schemas or {}).get(path) or {}
        return list(schema.get("classes") or ())

    @property
    def field(self) -> str:
        """Raises BadOption: code `option.field`; no name for a field."""
        return check_field(str(self.get("field")).strip(), "video" if self.is_video else "image")

    @property
    def look(self) -> Look:
        """As the sliders say."""
        return Look(min(max(float(self.get("opacity")), 0), 1), min(max(float(self.get("feather")), 0), 100))

    @property
    def inverts(self) -> bool:
        """The mask is what is not in it, as it is drawn and as it is saved."""
        return self.get("invert") is True

    @property
    def state(self) -> State:
        try:
            return self.clicking.state(self.model)
        except LocaraError as error:
            return State("error", reason=error.message, retry=True)

    @property
    def run(self) -> Run | None:
        return None if self.sample is None else RUNS.get(self.key)

    def begin(self, *, download: bool = False) -> None:
        """Loads the model, if its weights are here or are to be fetched, and encodes the picture meanwhile."""
        if download or self.state.kind in ("ready", "loading"):
            self.clicking.begin(self.model, download=download, accept_licence=self.get("accept") is True)
        place = self.place
        if place is not None:
            self.clicking.warm(self.model, place)
