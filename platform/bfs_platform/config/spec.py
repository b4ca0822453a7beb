"""The base class of every specification."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr


class Spec(BaseModel):
    """A frozen, complete description of one run or of one part of it. Unknown keys, NaN and infinity are refused.

    A part receives only its own `Spec`; a run's `Spec` is made of the specs of its parts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    # Which recipe this came from. Private: it travels with the object and says nothing about the run itself.
    _recipe_name: str = PrivateAttr(default="")

    @property
    def recipe_name(self) -> str:
        """The recipe this specification came from, or an empty string if it was built by hand."""
        return self._recipe_name

    def named(self: "SpecT", recipe_name: str) -> "SpecT":
        """A copy that remembers the recipe it came from."""
        copy = self.model_copy()
        copy._recipe_name = recipe_name
        return copy

    def resolved(self) -> dict[str, Any]:
        """What goes into a manifest or a file beside a result: `{"recipe": name, "spec": {…}}`, plain JSON values."""
        return {"recipe": self.recipe_name, "spec": self.model_dump(mode="json")}


SpecT = TypeVar("SpecT", bound=Spec)
