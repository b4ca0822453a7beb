"""The studio as files: what is served, with which headers, and that it needs no key."""

import gzip
import re

import pytest
from fastapi.testclient import TestClient

from bfs_serve.api.studio import FOLDER

MAX_SCRIPT_BYTES = 160 * 1024
ASSETS = sorted((FOLDER / "assets").iterdir())


def test_the_page_is_served_with_a_strict_policy(client: TestClient) -> None:
    """At `/studio/`, asked for anew each time; nothing inline, nothing from elsewhere, in no frame."""
    redirect = client.get("/studio", follow_redirects=False)
    assert (redirect.status_code, redirect.headers["location"]) == (308, "studio/")
    page = client.get("/studio/")
    policy = page.headers["content-security-policy"]
    assert page.status_code == 200 and page.headers["cache-control"] == "no-cache" and page.headers["etag"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|https?:", page.text)


@pytest.mark.parametrize("path", ASSETS, ids=lambda path: path.suffix + str(ASSETS.index(path)))
def test_assets_are_kept_for_ever(client: TestClient, path) -> None:
    """Their names change with their content."""
    answer = client.get(f"/studio/assets/{path.name}")
    assert answer.status_code == 200 and answer.content == path.read_bytes()
    assert "immutable" in answer.headers["cache-control"] and re.search(r"-[\w-]{8}\.\w+$", path.name)


def test_the_scripts_are_small(client: TestClient) -> None:
    """All scripts together, as they are sent, stay under 160 KiB."""
    scripts = [path for path in ASSETS if path.suffix == ".js"]
    assert scripts and sum(len(gzip.compress(path.read_bytes())) for path in scripts) < MAX_SCRIPT_BYTES
    assert client.get(f"/studio/assets/{scripts[0].name}", headers={"Accept-Encoding": "gzip"}).headers["content-encoding"] == "gzip"


def test_other_methods_and_other_files_are_refused(client: TestClient) -> None:
    """No file outside of the folder, and nothing but reading."""
    assert client.get("/studio/../app.py").status_code == 404
    assert client.get("/studio/%2e%2e/app.py").status_code == 404
    assert client.post("/studio/").status_code == 405
    assert client.head("/studio/").status_code == 200
