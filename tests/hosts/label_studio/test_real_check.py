"""What `label-studio check` finds out about a real Label Studio, open and guarded, without changing it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from locara_label.cli.app import run
from locara_label.hosts.label_studio.client import LabelStudio

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

CONFIG = """<View><Image name="image" value="$image"/>
  <BrushLabels name="mask" toName="image" smart="false"><Label value="Object"/></BrushLabels>
  <KeyPointLabels name="point" toName="image" smart="true" smartOnly="true"><Label value="Object"/></KeyPointLabels></View>"""


def png(width=40, height=30):
    out = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def check(capsys):
    def call(url, key, *options):
        code = run(["label-studio", "check", "--url", url, "--api-key", key, "--json", *options])
        out, err = capsys.readouterr()
        assert key not in out + err
        return code, {found["name"]: found for found in json.loads(out)["checks"]}

    return call


def everything(label_studio, project):
    """What a check could have changed."""
    names = (f"projects/{project}/", f"webhooks/?project={project}", f"predictions/?task__project={project}")
    backends = [{**backend, "updated_at": ""} for backend in label_studio.api(f"/api/ml?project={project}")]
    return [label_studio.api(f"/api/{name}") for name in names], backends


def test_all_is_well(label_studio, backend, check):
    project = label_studio.project(CONFIG)
    label_studio.upload(project, {"one.png": png()})
    number = label_studio.connect(project, backend.url, title="recorder-1")
    before = everything(label_studio, project)
    code, found = check(label_studio.url, label_studio.personal_token, "--project", str(project))
    assert {name: item["status"] for name, item in found.items()} == dict.fromkeys(found, "ok")
    assert code == 0
    assert found["label studio"]["text"].startswith("1.")
    assert "personal" in found["token"]["text"]
    assert "recorder-1" in found[f"backend {number}"]["text"]
    assert "40 x 30" in found["task data"]["text"]
    assert everything(label_studio, project) == before
    assert backend.bodies("/predict") == []


def test_a_silent_backend_a_lost_webhook_and_an_unusable_config(label_studio, backend, check):
    shown, chosen = '<Image name="image" value="$image"/>', '<Choices name="c" toName="image"><Choice value="a"/></Choices>'
    project = label_studio.project(f"<View>{shown}{chosen}</View>")
    number = label_studio.connect(project, backend.url, interactive=False)
    for hook in label_studio.api(f"/api/webhooks/?project={project}"):
        label_studio.api(f"/api/webhooks/{hook['id']}/", method="DELETE")
    label_studio.api(f"/api/projects/{project}/", {"model_version": ""}, method="PATCH")
    backend.statuses["/health"] = 500
    code, found = check(label_studio.url, label_studio.legacy_token, "--project", str(project))
    assert code == 1
    wrong = {name for name, item in found.items() if item["status"] != "ok"}
    assert wrong == {
        "config.no_output", "config.no_prompt", f"backend {number}", f"webhook of backend {number}", "clicks", "predictions",
        "task data",
    }  # fmt: skip
    assert all(found[name]["remedy"] for name in wrong)
    assert "legacy" in found["token"]["text"]


def test_local_files_need_a_storage(label_studio, check):
    project = label_studio.project(CONFIG)
    folder = label_studio.files / "pictures"
    folder.mkdir()
    (folder / "one.png").write_bytes(png())
    label_studio.api(f"/api/projects/{project}/import", [{"image": "/data/local-files/?d=pictures/one.png"}])
    options = (label_studio.url, label_studio.personal_token, "--project", str(project))
    code, found = check(*options)
    assert (code, found["task data"]["status"]) == (1, "problem")
    assert "local-files storage" in found["task data"]["remedy"]
    label_studio.serve_files(project, folder)
    code, found = check(*options)
    assert (code, found["task data"]["status"]) == (0, "ok")


def test_what_is_not_granted(label_studio, check):
    project = label_studio.project(CONFIG)
    label_studio.api(f"/api/projects/{project}/import", [{"image": "https://pictures.invalid/a.png?secret=1"}])
    code, found = check(label_studio.url, label_studio.personal_token, "--project", str(project))
    assert (code, found["task data"]["status"]) == (1, "problem")
    assert "secret" not in json.dumps(found)
    assert "hosts" in found["task data"]["remedy"]


def test_a_guarded_label_studio_refuses_local_backends(guarded_label_studio, backend, check):
    url, key = guarded_label_studio.url, guarded_label_studio.personal_token
    code, found = check(url, key, "--backend", backend.url)
    assert (code, found["backend address"]["status"]) == (1, "problem")
    assert "ML_BLOCK_LOCAL_IP=false" in found["backend address"]["remedy"]
    assert "SSRF_PROTECTION_ENABLED=false" in found["backend address"]["remedy"]
    assert backend.received == []
    code, found = check(url, key)
    assert (code, found["backend address"]["status"]) == (0, "warning")


@pytest.fixture
def no_legacy_tokens(guarded_label_studio):
    """Legacy tokens switched off, as they are by default."""
    allowed = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
    with LabelStudio(guarded_label_studio.url, guarded_label_studio.personal_token) as client:
        client.connection.ask("POST", "/api/jwt/settings", allowed | {"legacy_api_tokens_enabled": False})
        yield
        client.connection.ask("POST", "/api/jwt/settings", allowed)


@pytest.mark.usefixtures("no_legacy_tokens")
def test_tokens_that_are_not_accepted(guarded_label_studio, label_studio, check):
    code, found = check(guarded_label_studio.url, guarded_label_studio.legacy_token)
    assert (code, set(found)) == (1, {"label studio", "token"})
    assert "does not allow legacy tokens" in found["token"]["text"]
    assert "personal access token" in found["token"]["remedy"]
    code, found = check(label_studio.url, "0" * 40)
    assert (code, found["token"]["status"]) == (1, "problem")
    code, found = check(label_studio.url, f"{label_studio.personal_token[:-4]}abcd")
    assert (code, found["token"]["status"]) == (1, "problem")
    assert "revoked" in found["token"]["remedy"]


def test_no_project_no_label_studio(label_studio, backend, check):
    code, found = check(label_studio.url, label_studio.personal_token, "--project", "999999")
    assert (code, found["project"]["status"]) == (1, "problem")
    code, found = check(backend.url, label_studio.personal_token)
    assert (code, found["label studio"]["status"]) == (1, "problem")
