"""The OpenAPI document: what FastAPI finds in the endpoints, and what only we know of them."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from bfs_serve.api.request.forms import FORMS
from bfs_serve.api.request.uploads import definitions

_OPEN = ("/healthz", "/readyz")


def complete(app: FastAPI) -> None:
    """Make `app.openapi` also define what bodies refer to. Validation errors are problem documents, not FastAPI's own."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schemas: dict[str, Any] = found.setdefault("components", {}).setdefault("schemas", {})
            schemas |= definitions(FORMS)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for path, operations in found["paths"].items():
                for operation in operations.values():
                    operation.get("responses", {}).pop("422", None)
                    if path in _OPEN:
                        operation.pop("security", None)
                    elif "security" in operation:
                        operation["security"].append({})  # without a file of keys nobody needs one
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend it
