"""One click in the panel of FiftyOne's App, from the mouse button to the mask on the screen, in a real App in Chromium.

    python -m benchmarks.fiftyone_panel [--clicks 12] [--size 1800x1200] [--model sam2-mini]

Needs an environment with FiftyOne and Playwright, and Chromium. The picture is encoded before the first click counts. `ms` is by
the page's clock, the bar is for a machine with nothing else to do; `page_cpu_ms` is the processor time of the page's thread and
`server_cpu_ms` that of the App's server, both for all that a click sets off, which what else runs disturbs less. Prints JSON;
ends with 1 when the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.scenes import EVALUATION_SEED, Scene, make_scene
from locara_label import images
from tests.hosts.fiftyone import fiftyone_app, real_fiftyone
from tests.hosts.fiftyone.fiftyone_app import App, Canvas

BAR_MS = 400
PAUSE_MS = 2500
WATCH = """() => {
  const now = () => performance.now() - window.pressed;
  window.seen = {};
  document.addEventListener('mousedown', () => { window.pressed = performance.now(); window.seen = {sent: 0}; }, true);
  const fetched = window.fetch;
  window.fetch = (...given) => { window.seen.sent += String((given[1] || {}).body || '').length; return fetched(...given); };
  const look = (changes) => {
    for (const one of changes) {
      if (one.type === 'attributes' && one.target.tagName === 'image') window.seen.mask = now();
      if (one.type !== 'attributes' && /px, score/.test(one.target.textContent.slice(-200))) window.seen.text = now();
    }
  };
  const what = {subtree: true, childList: true, characterData: true, attributes: true};
  new MutationObserver(look).observe(document.querySelector('[data-cy="panel-content-clicks"]'), what);
}"""


def places(scene: Scene, count: int) -> list[tuple[float, float]]:
    """Spots on an object, in pixels of the picture, each a little beside the one before."""
    rows, columns = np.nonzero(scene.objects[0].mask)
    middle = len(rows) // 2
    return [(float(columns[i]), float(rows[i])) for i in range(middle, middle + 5 * count, 5)]


def cpu_s(pid: int) -> float:
    """Processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def click(app: App, canvas: Canvas, page_cpu: Any, server: int, place: tuple[float, float]) -> dict[str, float]:
    """What one click cost."""
    canvas.point_at(*place)
    app.wait(1000)
    before = page_cpu(), cpu_s(server)
    app.page.mouse.down()
    app.page.mouse.up()
    app.page.wait_for_function("() => window.seen.mask && window.seen.text")
    app.wait(PAUSE_MS)
    seen = app.script("() => window.seen")
    after = page_cpu(), cpu_s(server)
    return {
        "ms": max(seen["mask"], seen["text"]),
        "page_cpu_ms": 1000 * (after[0] - before[0]),
        "server_cpu_ms": 1000 * (after[1] - before[1]),
        "sent_bytes": seen["sent"],
    }


def measure(app: App, model: str, scene: Scene, clicks: int, server: int) -> dict[str, float]:
    """Medians over clicks; the first two warm up."""
    canvas = app.open_panel("clicks", (scene.image.shape[0], scene.image.shape[1]))
    app.choose(app.cy("panel-content-clicks"), 0, model)
    app.wait(4000)
    app.script(WATCH)
    session = app.page.context.new_cdp_session(app.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def page_cpu() -> float:
        found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return float(found["TaskDuration"])

    costs = [click(app, canvas, page_cpu, server, place) for place in places(scene, clicks + 2)][2:]
    return {name: round(statistics.median(cost[name] for cost in costs), 1) for name in costs[0]}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=12)
    parser.add_argument("--size", default="1800x1200", help="WIDTHxHEIGHT")
    parser.add_argument("--model", default="sam2-mini")
    options = parser.parse_args(argv)
    width, height = (int(part) for part in options.size.split("x"))
    browser = fiftyone_app.chromium()
    if browser is None:
        parser.error("Chromium is not installed; LOCARA_CHROMIUM may name its program")
    real_fiftyone.prepare()
    result = run(browser, make_scene(EVALUATION_SEED, (height, width)), options.model, options.clicks)
    print(json.dumps({"model": options.model, "size": [height, width], "bar_ms": BAR_MS, **result}, indent=1))
    return int(result["ms"] > BAR_MS)


def run(browser: str, scene: Scene, model: str, clicks: int) -> dict[str, float]:
    """In an App with our plugin, on a data set of one picture."""
    import fiftyone as fo

    from locara_label.hosts.fiftyone import install
    from locara_label.hosts.fiftyone.install import Folders

    with tempfile.TemporaryDirectory() as name:
        folder, dataset = Path(name), fo.Dataset(persistent=True)
        (folder / "picture.jpg").write_bytes(images.encode_jpeg(scene.image))
        dataset.add_sample(fo.Sample(filepath=str(folder / "picture.jpg")))
        install.install(Folders(folder / "plugins", folder / "zoo"))
        settings = {"FIFTYONE_PLUGINS_DIR": str(folder / "plugins")}
        with fiftyone_app.serving(folder / "log", settings) as server, fiftyone_app.browsing(browser) as page:
            app = App(page, server.url, folder / "plugins")
            app.open(dataset.name)
            found = measure(app, model, scene, clicks, server.pid)
        dataset.delete()
    return found


if __name__ == "__main__":
    sys.exit(main())
