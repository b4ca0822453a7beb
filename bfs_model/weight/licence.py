"""The gate in front of weights that are not free: FLUX.1 Fill and Redux may be used for non-commercial purposes only."""

import os
from collections.abc import Mapping
from typing import Any

from bfs_model.errors import BadInput

ACCEPT_VARIABLE = "BFS_ACCEPT_FLUX_LICENCE"
FLUX_LICENCE = "FLUX.1 [dev] Non-Commercial License"
FLUX_LICENCE_URL = "https://huggingface.co/black-forest-labs/FLUX.1-Fill-dev/blob/main/LICENSE.md"


def check_flux(name: object, accepted: bool = False) -> None:
    """Refuse weights of the FLUX.1 [dev] family unless their licence was accepted, by argument or by environment.

    Raises: `BadInput` that names the licence, where it stands, and both ways to accept it.
    """
    if accepted or os.environ.get(ACCEPT_VARIABLE) == "1":
        return
    rule = f"is under the {FLUX_LICENCE}, for non-commercial and non-production use ({FLUX_LICENCE_URL})"
    raise BadInput("model", name, rule, f"if you accept it, pass accept_flux_licence=True or set {ACCEPT_VARIABLE}=1")


def checked(name: object, facts: Mapping[str, Any], accepted: bool = False) -> str | None:
    """The licence that a manifest names for weights which were taken over from FLUX.1, if any. Raises as `check_flux`."""
    bound: str | None = facts.get("licence")
    if bound is not None:
        check_flux(name, accepted)
    return bound
