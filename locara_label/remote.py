"""A client of `locara-label serve`: pictures and prompts go there, masks come back. `LOCARA_SERVER` names it.

What comes back is checked as everything from outside is.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from locara_label.errors import BadImage, BadOption, InferenceFailed, LocaraError, RunError
from locara_label.images import encode_png
from locara_label.models.base import Image
from locara_label.types import Box, Candidate, Grounded, Instance, Mask, Prompt

if TYPE_CHECKING:
    import httpx2

ENVIRONMENT = "LOCARA_SERVER"
MAX_PICTURE = 11 << 20
"""Bytes of a picture's file: a request of the server holds 16 MiB, and base64 makes four bytes of three."""
MAX_ANSWER = 256 << 20
ATTEMPTS = 4
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0


Kinds = Mapping[str, type[LocaraError]]
"""What a server's refusals are raised as, by their codes or by the first words of these."""
PICTURES: Kinds = {"image": BadImage}


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent.

    Attributes:
        content: gives it, for each attempt anew.
        headers: that describe it.
        timeout_s: how long the answer may stay away; None takes the client's own.
    """

    content: Callable[[], bytes | Iterator[bytes] | None]
    headers: Mapping[str, str]
    timeout_s: float | None = None

    @classmethod
    def json(cls, values: Mapping[str, Any]) -> Body:
        """Without those that are None."""
        given = {name: value for name, value in values.items() if value is not None}
        content = json.dumps(given, allow_nan=False).encode()
        return cls(lambda: content, {"content-type": "application/json"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is; `shown` has no credentials in it."""

    shown: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)


def server_address(value: str | None = None) -> Address | None:
    """The server that `LOCARA_SERVER` names; None where it names none.

    Args:
        value: instead of the environment; http://host:port or http://user:password@host:port.

    Raises:
        BadOption: code `option.server`; it is no address.
    """
    given = (os.environ.get(ENVIRONMENT) if value is None else value) or ""
    if not given.strip() or given.lstrip().startswith("{"):  # in braces it is a table of settings
        return None
    try:
        parts = urlsplit(given.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise BadOption(f"{ENVIRONMENT} is an address like http://127.0.0.1:9090", code="option.server")
    name = f"[{host}]" if ":" in host else host
    shown = f"{parts.scheme}://{name}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    credentials = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return Address(shown, credentials)


def connected() -> Server | None:
    """A client of the server that `LOCARA_SERVER` names; None where it names none. Raises BadOption, see `server_address`."""
    address = server_address()
    return None if address is None else Server(address)


class Server:
    """Requests to one server. Threads may share it. Opens nothing before the first request."""

    def __init__(self, address: Address, timeout_s: float = 120) -> None:
        """`timeout_s` is how long an answer may stay away."""
        import httpx2

        self.address = address
        self._timeout = httpx2.Timeout(timeout_s, connect=5)
        self._client = httpx2.Client(auth=address.credentials, trust_env=False, follow_redirects=False)

    def close(self) -> None:
        self._client.close()

    def serving(self) -> dict[str, str]:
        """The server's models by what they are for: "clicks", "text", "prelabels", "video".

        Raises:
            RunError: code `run.server`; see `segment`.
        """
        found = self.ask("GET", "/v1/models").get("serving")
        if not isinstance(found, dict):
            raise self.odd("no models")
        return {str(use): str(name) for use, name in found.items()}

    def segment(self, picture: bytes, threshold: float | None = None, model: str | None = None) -> list[Instance]:
        """The regions of a picture.

        Args:
            picture: a file's bytes.
            threshold: least score; None takes the model's default.
            model: None takes the server's own.

        Raises:
            BadImage: the file is no picture, or too large to be sent.
            InferenceFailed: the server refuses or fails; with the server's own code.
            RunError: code `run.server`; it does not answer, or not what it should.
        """
        found = self._post("/v1/segment", {"image": _data_url(picture), "threshold": threshold, "model": model})
        return [self._instance(one) for one in self._list(found, "instances")]

    def masks(self, picture: bytes, prompts: Sequence[Prompt], model: str | None = None) -> list[list[Candidate]]:
        """Answers to each prompt, best first; logits cannot be sent. Raises as `segment`."""
        asked = [prompt_json(prompt) for prompt in prompts]
        found = self._post("/v1/mask_from_prompt", {"image": _data_url(picture), "prompts": asked, "model": model})
        answers = self._list(found, "masks")
        if len(answers) != len(prompts):
            raise self.odd(f"{len(answers)} answers to {len(prompts)} prompts")
        return [[self._candidate(one) for one in self.listed(answer)] for answer in answers]

    def find(self, picture: bytes, words: Sequence[str], box_threshold: float | None = None) -> list[Grounded]:
        """What words ask for, the best box first. Raises as `segment`."""
        body = {"image": _data_url(picture), "text": list(words), "box_threshold": box_threshold}
        return [self._grounded(one) for one in self._list(self._post("/v1/mask_from_prompt", body), "masks")]

    def ask(self, method: str, path: str, body: Body | None = None, kinds: Kinds = PICTURES) -> dict[str, Any]:
        """The answer's JSON; waits and asks again where the server has too much to do.

        Args:
            method: of HTTP.
            path: from "/v1" on.
            body: what is sent.
            kinds: what the server's refusals are raised as.

        Raises:
            LocaraError: the server refuses, with its own code; InferenceFailed for codes that `kinds` does not know.
            RunError: code `run.server`; it does not answer, or not what it should.
        """
        with self._accepted(method, path, body, kinds) as response:
            return self._object(200, self._content(response))

    def events(self, path: str, body: Body, kinds: Kinds = PICTURES) -> Iterator[tuple[str, dict[str, Any]]]:
        """The server-sent events that answer a POST, as they come: names and data. Closing it hangs up. Raises as `ask`."""
        with self._accepted("POST", path, body, kinds) as response:
            yield from map(self._event, self._blocks(response))

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self.ask("POST", path, Body.json(body))

    @contextmanager
    def _accepted(self, method: str, path: str, body: Body | None, kinds: Kinds) -> Iterator[httpx2.Response]:
        """An answer that is no refusal, its body still to be read. What breaks meanwhile is one error."""
        import httpx2

        sent, address = body or Body(lambda: None, {}), self.address.shown
        timeout = self._timeout if sent.timeout_s is None else httpx2.Timeout(sent.timeout_s)
        try:
            for left in reversed(range(ATTEMPTS)):
                headers = dict(sent.headers)
                with self._client.stream(
                    method, address + path, content=sent.content(), headers=headers, timeout=timeout
                ) as response:
                    if response.status_code == 200:
                        yield response
                        return
                    self._refused(response, kinds, last=not left)
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise RunError(f"the server {address} does not answer: {reason:.200}", code="run.server") from error

    def _refused(self, response: httpx2.Response, kinds: Kinds, *, last: bool) -> None:
        """Waits where the server has too much to do. Raises all other refusals, and the last one."""
        status, content = response.status_code, self._content(response)
        if status == 429 and not last:
            time.sleep(_pause(response.headers.get("retry-after")))
            return
        told = self._object(status, content).get("error")
        if status == 401:
            raise RunError(f"the server {self.address.shown} wants other credentials", code="run.server")
        raise refusal(told, f"status {status}", kinds)

    def _content(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > MAX_ANSWER:
                raise self.odd("an answer that is too large")
        return bytes(body)

    def _blocks(self, response: httpx2.Response) -> Iterator[str]:
        """The texts between empty lines, without comments."""
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > MAX_ANSWER:
                raise self.odd("an event that is too large")
            if b"\n\n" in body[-len(part) - 1 :]:
                *whole, rest = bytes(body).split(b"\n\n")
                body = bytearray(rest)
                yield from (text.decode("utf-8", "replace") for text in whole if text and not text.startswith(b":"))

    def _event(self, text: str) -> tuple[str, dict[str, Any]]:
        lines = dict(line.partition(": ")[::2] for line in text.split("\n"))
        try:
            data = json.loads(lines.get("data", ""))
        except (ValueError, RecursionError):
            data = None
        if "event" not in lines or not isinstance(data, dict):
            raise self.odd(f"the event {text!r:.60}")
        return lines["event"], data

    def _object(self, status: int, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self.odd(f"status {status} and no JSON object")
        return found

    def odd(self, what: str) -> RunError:
        """What is raised for an answer that makes no sense; code `run.server`."""
        text = f"{self.address.shown} is no locara-label server, or of another version"
        return RunError(f"{text}: it gave {what}", code="run.server")

    def _list(self, found: dict[str, Any], name: str) -> list[Any]:
        return self.listed(found.get(name))

    def listed(self, value: Any) -> list[Any]:
        """A list of an answer. Raises RunError, see `odd`."""
        if not isinstance(value, list):
            raise self.odd(f"{type(value).__name__} instead of a list")
        return value

    def _instance(self, one: Any) -> Instance:
        index = one.get("label_index") if isinstance(one, dict) else None
        return Instance(
            self._text(one, "label"),
            index if isinstance(index, int) else 0,
            self.share_of(one, "score"),
            self.mask_of(one),
            is_stuff=one.get("is_stuff") is True,
        )

    def _candidate(self, one: Any) -> Candidate:
        return Candidate(self.mask_of(one), self.share_of(one, "score"))

    def _grounded(self, one: Any) -> Grounded:
        mask, score = self.mask_of(one), self.share_of(one, "box_score")
        try:
            box = Box(*(float(number) for number in one["box"]))
        except (KeyError, TypeError, ValueError) as error:
            raise self.odd("an object without a box") from error
        return Grounded(self._text(one, "phrase"), box, score, mask, self.share_of(one, "mask_score"))

    def mask_of(self, one: Any) -> Mask:
        """The mask of an object of an answer. Raises BadMask."""
        return Mask.from_coco(one.get("segmentation") if isinstance(one, dict) else None)

    def _text(self, one: Any, name: str) -> str:
        found = one.get(name)
        if not isinstance(found, str):
            raise self.odd(f"a region without {name}")
        return found[:1000]

    def share_of(self, one: Any, name: str) -> float:
        """A number in 0..1 of an object of an answer. Raises RunError, see `odd`."""
        found = one.get(name) if isinstance(one, dict) else None
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
            raise self.odd(f"a {name} of {found!r:.40}")
        return float(found)


def refusal(told: Any, otherwise: str, kinds: Kinds) -> LocaraError:
    """The error that a server named; `otherwise` is said where it has no words."""
    told = told if isinstance(told, dict) else {}
    code, text = str(told.get("code", "run.server"))[:80], str(told.get("message", otherwise))[:500]
    kind = kinds.get(code) or kinds.get(code.partition(".")[0], InferenceFailed)
    return kind(f"the server says: {text}", code=code)


def read_picture(path: Path | str) -> bytes:
    """A file's bytes, as a server takes them.

    Raises:
        BadImage: code `image.too_large`; more than fits a request.
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return _fitting(file.read(MAX_PICTURE + 1), str(path))


def picture_of(image: Image) -> bytes:
    """Pixels without a file of their own, RGB uint8 [H, W, 3], as a server takes them: a PNG, lossless.

    Raises:
        BadImage: code `image.too_large`; more than fits a request.
    """
    return _fitting(encode_png(image), "a frame")


def _fitting(content: bytes, what: str) -> bytes:
    if len(content) > MAX_PICTURE:
        raise BadImage(f"{what} has more than the {MAX_PICTURE} bytes that a server takes", code="image.too_large")
    return content


def _data_url(picture: bytes) -> str:
    if len(picture) > MAX_PICTURE:
        raise BadImage(f"a picture of {len(picture)} bytes; a server takes {MAX_PICTURE}", code="image.too_large")
    return f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"  # the server looks at the bytes, not the type


def prompt_json(prompt: Prompt) -> dict[str, Any]:
    """A prompt as servers take it; without logits."""
    body: dict[str, Any] = {"candidates": prompt.candidates}
    if prompt.points:
        body["points"] = [[point.x, point.y] for point in prompt.points]
        body["labels"] = [int(point.positive) for point in prompt.points]
    if prompt.box is not None:
        body["box"] = [prompt.box.x0, prompt.box.y0, prompt.box.x1, prompt.box.y1]
    if prompt.mask is not None:
        body["mask"] = prompt.mask.to_coco()
    return body


def _pause(asked: str | None) -> float:
    try:
        return min(max(float(asked or _PAUSE_S), 0.1), _LONGEST_PAUSE_S)
    except ValueError:
        return _PAUSE_S
