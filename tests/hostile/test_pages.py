"""A page of another origin in a real browser, which tries to send a video to a server on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from tests.answering import answering
from tests.hostile.bodies import CLIP, attacked
from tests.required import missing, need

need("playwright")
from tests.hosts.fiftyone.fiftyone_app import browsing, chromium  # noqa: E402

pytestmark = pytest.mark.slow
TRIES = """async ([address, bytes]) => {
    const outcomes = [];
    const body = new Uint8Array(bytes);
    for (const type of ["video/mp4", "application/octet-stream", "text/plain", ""]) {
        const blob = new Blob([body], {type});
        for (const mode of ["cors", "no-cors"]) {
            for (const headers of [{}, {"content-type": type || "video/mp4"}]) {
                const sent = await fetch(address, {method: "POST", mode, headers, body: blob})
                    .then(reply => reply.type, () => "refused");
                outcomes.push(sent);
            }
        }
        try { navigator.sendBeacon(address, blob); } catch (error) { outcomes.push("refused"); }
        outcomes.push(await new Promise(done => {
            const request = new XMLHttpRequest();
            request.onloadend = () => done(request.status ? "read" : "refused");
            request.open("POST", address);
            if (type) request.setRequestHeader("content-type", type);
            request.send(blob);
        }));
    }
    const form = new FormData();
    form.append("video", new Blob([body], {type: "video/mp4"}), "clip.mp4");
    outcomes.push(await fetch(address, {method: "POST", mode: "no-cors", body: form}).then(reply => reply.type, () => "refused"));
    return outcomes;
}"""


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page</title>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def page_server() -> Iterator[str]:
    with answering(Page) as port:
        yield f"http://localhost:{port}/"


def test_a_page_cannot_send_a_video() -> None:
    program = chromium()
    if program is None:
        missing("Chromium is not installed; LOCARA_CHROMIUM may name its program")
    with attacked() as (client, service), page_server() as address, browsing(program) as page:
        clip = service.fetcher.read(CLIP)
        page.goto(address)
        outcomes = page.evaluate(TRIES, [f"http://127.0.0.1:{client.port}/v1/video/sessions", list(clip)])
        assert set(outcomes) == {"opaque", "refused"}
        assert outcomes.count("opaque") > 5  # these reached the server
        assert len(service.video_sessions) == service.video_files.nbytes == 0
        sent = client.send("POST", "/v1/video/sessions", clip, {"content-type": "video/mp4"})
        assert (sent.status, len(service.video_sessions)) == (200, 1)
