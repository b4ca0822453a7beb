"""The studio: a page of static files, built from `serve/studio` and shipped inside the package, at `/studio/`."""

import os
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent.parent / "studio"
# Scripts, styles, fonts and requests of this service alone; pictures also as the page itself makes them. Nothing inline.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_NAMED_BY_CONTENT = "assets"  # a change of such a file changes its name
_FOR_EVER, _ASK = "public, max-age=31536000, immutable", "no-cache"
_SMALLEST = 1024


class _Files(StaticFiles):
    """Static files with the headers of the page."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = _FOR_EVER if Path(full_path).parent.name == _NAMED_BY_CONTENT else _ASK
        return response


async def _with_slash() -> Response:
    """Addresses in the page are relative to its folder. The redirect is relative, too: a proxy may know the service by another name."""
    return RedirectResponse("studio/", 308)


def mount(app: FastAPI) -> None:
    """Put the page at `/studio/`. It needs no key; what it asks for does."""
    app.add_api_route("/studio", _with_slash, include_in_schema=False)
    app.mount("/studio", GZipMiddleware(_Files(directory=FOLDER, html=True), minimum_size=_SMALLEST), name="studio")
