"""The client's methods on a real Label Studio."""

from __future__ import annotations

import pytest

from locara_label.errors import FetchFailed
from locara_label.hosts.label_studio.client import PAGE, LabelStudio
from tests.hosts.label_studio.real_label_studio import running

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

CONFIG = """<View><Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image"><Label value="Object"/></RectangleLabels></View>"""
REGION = {
    "id": "one", "from_name": "box", "to_name": "image", "type": "rectanglelabels",
    "original_width": 10, "original_height": 10, "image_rotation": 0, "meta": {"ours": [1]},
    "value": {"x": 1, "y": 2, "width": 3, "height": 4, "rotation": 0, "rectanglelabels": ["Object"]},
}  # fmt: skip


@pytest.fixture(params=["personal", "legacy"])
def client(label_studio, request):
    key = label_studio.personal_token if request.param == "personal" else label_studio.legacy_token
    with LabelStudio(label_studio.url, key) as found:
        assert found.connection.kind == request.param
        yield found


@pytest.fixture
def project(label_studio):
    return label_studio.project(CONFIG)


def test_projects_and_the_user(client, label_studio, project):
    assert client.version().startswith("1.")
    assert client.whoami() == label_studio.email
    found = client.project(project)
    assert (found.id, found.config, found.tasks) == (project, CONFIG, 0)
    assert project in [other.id for other in client.projects()]
    with pytest.raises(FetchFailed) as caught:
        client.project(10**9)
    assert caught.value.code == "fetch.not_found"


def test_more_tasks_than_a_page(client, label_studio, project):
    label_studio.api(f"/api/projects/{project}/import", [{"image": f"/data/upload/{number}.png"} for number in range(PAGE + 7)])
    tasks = list(client.tasks(project))
    assert [task.data["image"] for task in tasks] == [f"/data/upload/{number}.png" for number in range(PAGE + 7)]
    assert [task.id for task in client.tasks(project, after=tasks[-3].id)] == [tasks[-2].id, tasks[-1].id]
    label_studio.api(f"/api/tasks/{tasks[0].id}/", method="DELETE")
    assert len(list(client.tasks(project))) == PAGE + 6


def test_predictions(client, label_studio, project):
    label_studio.api(f"/api/projects/{project}/import", [{"image": "/data/upload/1.png"}, {"image": "/data/upload/2.png"}])
    first, second = (task.id for task in client.tasks(project))
    number = client.create_prediction(first, [REGION], 0.75, "v10")
    client.create_prediction(second, [], 0.0, "v1")
    [stored] = client.predictions(first)
    assert (stored.id, stored.task, stored.model_version, stored.score) == (number, first, "v10", 0.75)
    assert stored.result == (REGION,)
    assert (client.tasks_with(project, "v1"), client.tasks_with(project, "v10")) == ({second}, {first})
    client.update_prediction(number, [REGION, {**REGION, "id": "two"}], 0.5, "v11")
    [stored] = client.predictions(first)
    assert (stored.id, stored.model_version, stored.score, len(stored.result)) == (number, "v11", 0.5, 2)
    client.delete_prediction(number)
    assert client.predictions(first) == []
    assert [task.predictions for task in client.tasks(project)] == [0, 1]
    with pytest.raises(FetchFailed) as caught:
        client.create_prediction(10**9, [], 0.0, "v1")
    assert caught.value.code == "label_studio.refused"


def test_annotations(client, label_studio, project):
    label_studio.api(f"/api/projects/{project}/import", [{"image": "/data/upload/1.png"}])
    [task] = client.tasks(project)
    label_studio.api(f"/api/tasks/{task.id}/annotations/", {"result": [REGION]})
    [annotation] = client.annotations(task.id)
    assert annotation["result"] == [REGION]


def test_backends_and_webhooks(client, project, backend):
    assert (client.refuses_backend(backend.url), client.refuses_webhook(f"{backend.url}/webhook")) == (None, None)
    assert (client.backends(project), client.webhooks(project), backend.received) == ([], [], [])
    made = client.connect_backend(project, backend.url, "recorder")
    [found] = client.backends(project)
    assert (found.id, found.url, found.state, found.interactive) == (made.id, backend.url, "Connected", True)
    assert (found.title, found.model_version) == ("recorder", "recorder-1")
    assert [(hook.url, hook.active) for hook in client.webhooks(project)] == [(f"{backend.url}/webhook", True)]
    assert client.project(project).model_version == "recorder"


def test_local_files_are_served(client):
    assert client.serves_local_files()


def test_a_label_studio_that_is_half_open(label_studio, backend, tmp_path):
    """With ML_BLOCK_LOCAL_IP alone Label Studio answers 403 and keeps the backend; asking first avoids that."""
    closed = {"ML_BLOCK_LOCAL_IP": "false", "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "false"}
    with running(label_studio.program, tmp_path, closed) as half, LabelStudio(half.url, half.personal_token) as client:
        project = half.project(CONFIG)
        assert client.refuses_backend(backend.url) is None
        assert "reserved network address" in (client.refuses_webhook(f"{backend.url}/webhook") or "")
        assert (client.backends(project), backend.received) == ([], [])
        assert not client.serves_local_files()
