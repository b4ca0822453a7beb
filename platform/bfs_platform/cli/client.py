"""A caller of `POST /v1/layers`: one blocking request, and a job to ask after where the service answers before it is done."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from PIL import Image

from bfs_model.errors import BadInput
from bfs_platform.cli.shell import Failure, say

if TYPE_CHECKING:
    from httpx2 import Client, Response

MEDIA_TYPES = {
    ".png": "image/png",
    ".psd": "image/vnd.adobe.photoshop",
    ".ora": "image/openraster",
    ".zip": "application/zip",
}
_WAIT_S = 300
_POLL_S = 1.0


@dataclass(frozen=True)
class Reply:
    """A drawn layer, as the bytes of a file, and what the service says about it."""

    content: bytes
    suffix: str
    seed: int | None
    model: str | None

    def flattened_over(self, background: Path) -> Image.Image:
        """The flat picture: the layer over `background`, or the document's own layers."""
        from bfs_model import documents
        from bfs_model.compositing import composite_u8
        from bfs_model.images import read_image

        if self.suffix != ".png":
            return documents.decode(self.content).flatten()
        layer = read_image(self.content, key="layer").rgba()
        return Image.fromarray(composite_u8(layer, read_image(background, key="background").over_white()))


def request_layer(url: str, background: Path, fields: dict[str, Any], suffix: str, reference: bytes | None = None) -> Reply:
    """Ask the service at `url` for one layer as a file with this suffix. `reference`: a picture of the object, as PNG.

    Raises: `BadInput` for what the service refuses, `Failure` when it cannot be reached, is busy or fails.
    """
    import httpx2

    base = _checked(url)
    key = os.environ.get("BFS_API_KEY")
    headers = {"Accept": MEDIA_TYPES[suffix]} | ({"Authorization": f"Bearer {key}"} if key else {})
    # The read timeout outlasts the longest wait that the service grants; redirects are not followed.
    timeout = httpx2.Timeout(10.0, read=_WAIT_S + 30.0, write=120.0)
    with httpx2.Client(base_url=base, headers=headers, timeout=timeout) as client:
        try:
            say(f"asking {base} ...")
            files = {"background": (background.name, background.read_bytes())}
            if reference is not None:
                files["reference"] = ("reference.png", reference)
            data = {name: str(value) for name, value in fields.items()}
            answer = client.post("/v1/layers", files=files, data=data, headers={"Prefer": f"wait={_WAIT_S}"})
            if answer.status_code == 202:
                answer = _wait_for(client, answer)
        except httpx2.HTTPError as error:
            raise Failure(f"url={base} cannot be reached or broke off ({_reason(error)}); is the service running there?") from None
        _raise_for(answer, base)
    seed = answer.headers.get("X-BFS-Seed", "")
    return Reply(answer.content, suffix, int(seed) if seed.isdigit() else None, answer.headers.get("X-BFS-Model"))


def _wait_for(client: "Client", accepted: "Response") -> "Response":
    """Ask after a job until it is finished; cancel it when interrupted."""
    job = urljoin(str(accepted.url), accepted.headers.get("Location", ""))
    if urlsplit(job).netloc != urlsplit(str(accepted.url)).netloc:
        raise Failure(f"url={accepted.url} sent us to another place, {job}")  # our key is not theirs
    try:
        while True:
            view = client.get(job, headers={"Accept": "application/json"})
            if view.status_code != 200 or view.json().get("finished_at"):
                return client.get(f"{job}/result")
            say(f"the service answers later: {view.json().get('status')}")
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        client.delete(job)
        raise


def _raise_for(answer: "Response", url: str) -> None:
    status = answer.status_code
    if status == 200:
        return
    problem = _problem(answer)
    if problem is None or status >= 500 or status in (408, 429):
        detail = (problem or {}).get("detail") or f"answered {status} {answer.reason_phrase}; it may not be a BFS service"
        raise Failure(f"url={url} {detail}")
    for entry in problem.get("errors") or []:
        if {"key", "value", "rule", "remedy"} <= set(entry):
            raise BadInput(entry["key"], entry["value"], entry["rule"], entry["remedy"])
    raise BadInput("url", url, f"refused the request with status {status}", str(problem.get("detail") or problem.get("title")).rstrip("."))


def _problem(answer: "Response") -> dict[str, Any] | None:
    """The problem document of a refusal, if it is one."""
    if not answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return None
    try:
        document = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput("url", url, "is not an http address", "for example http://127.0.0.1:8000")
    return url.rstrip("/")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
