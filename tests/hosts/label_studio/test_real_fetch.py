"""What the real Label Studio serves, with both kinds of token, and where it redirects."""

from __future__ import annotations

import pytest

from locara_label.fetch import Fetcher, Rules
from tests.fetch.web import Answer, Web, code_of
from tests.hosts.label_studio.real_label_studio import RealLabelStudio

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

CONFIG = '<View><Image name="image" value="$image"/><BrushLabels name="b" toName="image"><Label value="A"/></BrushLabels></View>'
PICTURE = bytes(range(256)) * 300


def _fetcher(studio: RealLabelStudio, kind: str, **values: object) -> Fetcher:
    token = {"personal": studio.personal_token, "legacy": studio.legacy_token, "wrong": "0" * 40, "none": None}[kind]
    return Fetcher(Rules(label_studio_url=studio.url, token=token, **values))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["personal", "legacy"])
def test_uploads_and_local_files(label_studio: RealLabelStudio, kind: str) -> None:
    project = label_studio.project(CONFIG)
    label_studio.upload(project, {"a picture.png": PICTURE})
    [task] = label_studio.tasks(project)
    folder = label_studio.files / f"set {kind}"
    folder.mkdir()
    (folder / "b ü.png").write_bytes(PICTURE)
    label_studio.serve_files(project, folder)
    fetcher = _fetcher(label_studio, kind)
    upload = task["data"]["image"]
    assert upload.startswith("/data/upload/")
    assert fetcher.read(upload) == PICTURE
    assert fetcher.read(upload.removeprefix("/data/")) == PICTURE
    assert fetcher.read(label_studio.url + upload) == PICTURE
    assert fetcher.read(f"/data/local-files/?d=set%20{kind}/b%20%C3%BC.png") == PICTURE
    assert fetcher.read(f"/data/local-files/?d=set {kind}/b ü.png") == PICTURE
    assert code_of(lambda: fetcher.read(f"/data/local-files/?d=set {kind}/none.png")) == "fetch.not_found"
    assert code_of(lambda: fetcher.read(upload, max_bytes=1000)) == "fetch.too_large"
    for other in ("wrong", "none"):
        assert code_of(lambda other=other: _fetcher(label_studio, other).read(upload)) == "fetch.unauthorised"  # type: ignore[misc]


@pytest.mark.parametrize("presign", [True, False])
def test_cloud_files(label_studio: RealLabelStudio, presign: bool) -> None:
    project = label_studio.project(CONFIG)
    [task] = label_studio.upload(project, {"a.png": PICTURE})
    with Web() as cloud:
        cloud.routes["/bucket"] = Answer()
        cloud.routes["/bucket/a%20b.png"] = Answer(body=PICTURE)
        body = {"project": project, "bucket": "bucket", "s3_endpoint": cloud.url, "use_blob_urls": True, "presign": presign,
                "aws_access_key_id": "key", "aws_secret_access_key": "canary", "region_name": "us-east-1"}  # fmt: skip
        label_studio.api("/api/storages/s3/", body)
        fetcher = _fetcher(label_studio, "personal", allow_private=(f"127.0.0.1:{cloud.port}",))
        assert fetcher.read("s3://bucket/a b.png", task_id=task) == PICTURE
        assert fetcher.read("s3://bucket/a b.png", project_id=project) == PICTURE
        signed = [request for request in cloud.log if "Signature" in request.target]
        assert len(signed) == (2 if presign else 0)
        assert all("authorization" not in request.headers for request in signed)
        assert code_of(lambda: fetcher.read("s3://other/a.png", task_id=task)) == "fetch.not_found"
        guarded = _fetcher(label_studio, "personal")
        expected = "fetch.private_address" if presign else "read"
        assert code_of(lambda: guarded.read("s3://bucket/a b.png", task_id=task)) == expected
