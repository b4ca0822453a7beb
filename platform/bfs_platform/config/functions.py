"""Functions that a specification names, `module:name`."""

from typing import Annotated, Any

from pydantic import BeforeValidator

# Specifications that were written beside results name ours by the modules in which they were.
_FORMER = {
    "bfs_model.images:read_image": "bfs_model.picture.images:read_image",
    "bfs_platform.evaluate.models:load_pipeline": "bfs_platform.evaluate.system.models:load_pipeline",
    "bfs_platform.evaluate.fakes:load_fake_disc": "bfs_platform.evaluate.system.fakes:load_fake_disc",
}


def _present(name: Any) -> Any:
    return _FORMER.get(name, name) if isinstance(name, str) else name


FunctionName = Annotated[str, BeforeValidator(_present)]
"""`module:name`, as it is called now."""
