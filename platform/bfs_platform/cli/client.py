"""A caller of `POST /v1/layers`: one blocking request, and a job to ask after where the service answers before it is done."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

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
_PASSING, _PATIENCE = (408, 429, 502, 503, 504), 30
_EXAMPLE = "for example http://127.0.0.1:8000"


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
    if key is not None and not key.isascii():
        raise BadInput("BFS_API_KEY", "<hidden>", "holds other characters than ASCII", "copy the key anew")
    headers = {"Accept": MEDIA_TYPES[suffix]} | ({"Authorization": f"Bearer {key}"} if key else {})
    # The read timeout outlasts the longest wait that the service grants; redirects are not followed.
    timeout = httpx2.Timeout(10.0, read=_WAIT_S + 30.0, write=120.0)
    files = {"background": (background.name, background.expanduser().read_bytes())}
    if reference is not None:
        files["reference"] = ("reference.png", reference)
    data = {name: str(value) for name, value in fields.items()}
    try:
        with httpx2.Client(base_url=base, headers=headers, timeout=timeout) as client:
            say(f"asking {base} ...")
            answer = client.post("/v1/layers", files=files, data=data, headers={"Prefer": f"wait={_WAIT_S}"})
            if answer.status_code == 202:
                answer = _wait_for(client, answer)
    except httpx2.InvalidURL as error:
        raise BadInput("url", url, f"is not an http address ({error})", _EXAMPLE) from None
    except httpx2.HTTPError as error:
        raise Failure(f"url={base} cannot be reached or broke off ({_reason(error)}); is the service running there?") from None
    _raise_for(answer, base)
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    if kind != MEDIA_TYPES[suffix]:
        raise Failure(f"url={base} answered with {kind or 'nothing'} instead of {MEDIA_TYPES[suffix]}; it may not be a BFS service")
    seed, model = answer.headers.get("X-BFS-Seed", ""), answer.headers.get("X-BFS-Model")
    return Reply(answer.content, suffix, int(seed) if seed.isdigit() else None, None if model is None else unquote(model))


def _wait_for(client: "Client", accepted: "Response") -> "Response":
    """Ask after a job until it is finished; cancel it when interrupted."""
    job = urljoin(str(accepted.url), accepted.headers.get("Location", ""))
    if urlsplit(job).netloc != urlsplit(str(accepted.url)).netloc:
        raise Failure(f"url={accepted.url} sent us to another place, {job}")  # our key is not theirs
    patience = _PATIENCE
    try:
        while True:
            view = client.get(job, headers={"Accept": "application/json"})
            if view.status_code in _PASSING and patience:
                patience -= 1  # the job goes on behind an edge that is busy or starts again
            elif view.status_code != 200:
                return view
            else:
                state = _json(view) or {}
                if state.get("finished_at"):
                    return client.get(f"{job}/result")
                patience = _PATIENCE
                say(f"the service answers later: {state.get('status')}")
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
    return _json(answer)


def _json(answer: "Response") -> dict[str, Any] | None:
    """The JSON object of an answer, if it is one."""
    try:
        document = answer.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # brackets that are not of an IPv6 address
        known = False
    if not known:
        raise BadInput("url", url, "is not an http address", _EXAMPLE)
    return url.rstrip("/")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
