"""Findings of the check; tests/hosts/label_studio/test_real_check.py looks at the real Label Studio."""

from __future__ import annotations

import pytest

from locara_label.cli.app import run
from locara_label.fetch import Fetcher, Rules
from locara_label.hosts.label_studio.check import run_checks
from locara_label.hosts.label_studio.client import LabelStudio
from locara_label.hosts.label_studio.connection import Patience
from tests.hosts.label_studio.fake_label_studio import LEGACY, FakeLabelStudio, Refused, serving

CONFIG = """<View><Image name="image" value="$image"/>
  <BrushLabels name="mask" toName="image" smart="false"><Label value="a"/><Label value="b"/></BrushLabels>
  <KeyPointLabels name="point" toName="image" smart="true" smartOnly="true"><Label value="a"/></KeyPointLabels></View>"""
BACKEND = {
    "id": 3, "url": "http://host:9090", "title": "locara", "readable_state": "Connected", "error_message": None,
    "is_interactive": True, "model_version": "v1",
}  # fmt: skip
RESERVED = b'{"detail": "URL resolves to a reserved network address (block: 127.0.0.0/8)"}'
INCOMPLETE = b'{"detail": "Validation error"}'


@pytest.fixture
def fake():
    with serving(FakeLabelStudio(CONFIG)) as found:
        found.answers = {
            "/data/local-files/": b"",
            "/api/ml": [BACKEND],
            "/api/webhooks/": [{"url": "http://host:9090/webhook", "is_active": True}],
        }
        found.before = refusing({})
        yield found


def refusing(statuses):
    """Refuses POSTs as Label Studio refuses incomplete ones, and what `statuses` names."""

    def refuse(method, path):
        if path in statuses:
            raise Refused(*statuses[path])
        if method == "POST":
            raise Refused(400, INCOMPLETE)

    return refuse


@pytest.fixture
def check(fake):
    def call(project=None, backend=None):
        with LabelStudio(fake.url, LEGACY, Patience(2, 0.001, 2, 2)) as client:
            findings = run_checks(client, Fetcher(Rules(label_studio_url=fake.url, token=LEGACY)), project, backend)
        assert all(finding.remedy for finding in findings if finding.status != "ok")
        assert all(method == "GET" or path in {"/api/ml", "/api/webhooks/"} for method, path in fake.asked)
        return {finding.name: finding for finding in findings}

    return call


def test_without_a_project(fake, check):
    found = check()
    assert {name: finding.status for name, finding in found.items()} == {
        "label studio": "ok", "token": "ok", "local files": "ok", "backend address": "ok",
    }  # fmt: skip
    assert "a@example.com" in found["token"].text


@pytest.mark.parametrize(("release", "status"), [("1.9.2", "warning"), ("1.23.2", "ok"), ("2.0.0rc1", "ok"), ("develop", "ok")])
def test_versions(fake, check, release, status):
    fake.answers["/api/version"] = {"release": release}
    assert check()["label studio"].status == status


@pytest.mark.parametrize(("status", "code"), [(0, "fetch.unreachable"), (404, "fetch.not_found"), (500, "fetch.status")])
def test_no_label_studio(fake, check, status, code):
    fake.before = refusing({"/api/version": (status,)})
    [finding] = check().values()
    assert (finding.status, code in finding.text) == ("problem", True)


@pytest.mark.parametrize("path", ["/data/local-files/", "/api/ml", "/api/webhooks/", "/api/tasks", "/api/projects/1/"])
def test_whatever_fails_is_a_finding(fake, check, path):
    fake.before = refusing({path: (500,)})
    assert any(finding.status == "problem" for finding in check(1).values())


def test_a_webhook_alone_is_refused(fake, check):
    fake.answers["/api/ml"] = []
    fake.before = lambda method, path: refusing({"/api/webhooks/": (403, RESERVED)} if method == "POST" else {})(method, path)
    found = check(1, "http://localhost:9090")
    assert found["backend address"].status == "problem"
    assert "webhook" in found["backend address"].text
    assert "SSRF_PROTECTION_ENABLED=false" in found["backend address"].remedy
    assert "ML_BLOCK_LOCAL_IP" not in found["backend address"].remedy
    assert found["backend"].status == "warning"


def test_a_refusal_for_another_reason(fake, check):
    fake.answers["/api/ml"] = []
    fake.before = lambda method, path: refusing({"/api/ml": (403, b'{"detail": "no such host"}')} if method == "POST" else {})(
        method, path
    )
    finding = check(1, "http://nowhere:9090")["backend address"]
    assert (finding.status, "ML_BLOCK" in finding.remedy) == ("problem", False)


def test_backends(fake, check):
    broken = BACKEND | {"id": 4, "url": "http://other:9090", "readable_state": "Error", "error_message": "Read timed out"}
    fake.answers["/api/ml"] = [BACKEND | {"is_interactive": False}, broken | {"is_interactive": False}]
    found = check(1)
    assert found["backend 3"].status == "ok"
    assert (found["backend 4"].status, "Read timed out" in found["backend 4"].text) == ("problem", True)
    assert found["webhook of backend 3"].status == "ok"
    assert found["webhook of backend 4"].status == "warning"
    assert found["clicks"].status == "warning"
    assert found["backends"].status == "warning"
    assert found["predictions"].status == "warning"


@pytest.mark.parametrize("version", ["locara", "v1"])
def test_the_project_shows_the_backends_predictions(fake, check, version):
    project = {"id": 1, "title": "t", "label_config": CONFIG, "model_version": version, "task_number": 0}
    fake.answers["/api/projects/1/"] = project
    found = check(1)
    assert found["predictions"].status == "ok"
    assert ("prediction score" in found) is (version == "locara")


def test_the_column_of_scores_stays_empty(fake, check):
    project = {"id": 1, "title": "t", "label_config": CONFIG, "model_version": "locara", "task_number": 0}
    fake.answers["/api/projects/1/"] = project
    finding = check(1)["prediction score"]
    assert (finding.status, "'v1'" in finding.remedy) == ("warning", True)


def test_a_config_with_faults(fake, check):
    fake.config = """<View><Image name="image" value="$image"/>
      <BrushLabels name="mask" toName="image"><Label value="a"/></BrushLabels></View>"""
    found = check(1)
    assert {name: finding.status for name, finding in found.items() if name.startswith("config.")} == {
        "config.no_prompt": "warning", "config.smart_mask": "warning",
    }  # fmt: skip
    assert 'smart="false"' in found["config.smart_mask"].remedy
    fake.config = '<View><Image name="image" value="$image"/></View>'
    assert check(1)["config.no_output"].status == "problem"
    fake.config = "<View"
    assert check(1)["labeling config"].status == "problem"


def test_signed_addresses_are_not_shown(fake, check):
    fake.tasks[1] = {"image": "https://bucket.invalid/a.png?X-Amz-Signature=secret"}
    finding = check(1)["task data"]
    assert finding.status == "problem"
    assert "secret" not in finding.text + finding.remedy


def test_the_command_for_people(fake, capsys):
    code = run(["label-studio", "check", "--url", fake.url, "--api-key", LEGACY, "--project", "1"])
    out = capsys.readouterr().out
    assert code == 0
    assert "WARNING task data: the project has no tasks\n        -> import some\n" in out
    assert out.endswith("0 problems, 2 warnings\n")
