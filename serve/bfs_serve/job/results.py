"""Results as data: what came of an order. As JSON they are the outcome of a job; pictures are names of blobs."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from bfs_serve.store.records import SUCCEEDED, Job


class Picture(BaseModel):
    """One drawn layer. RGBA PNGs of the size of the canvas; `composite` is RGB, the layer over the untouched background."""

    model_config = ConfigDict(frozen=True)

    seed: int | None = None
    layer: str
    composite: str
    object: str | None = None
    effects: str | None = None


class Result(BaseModel):
    """What a job delivers: `pictures`, one per candidate, or a `document` (a zip of ours) and its flat picture `composite`."""

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    version: str | None = None
    seconds: float = 0.0
    steps: int | None = None
    warnings: list[str] = []
    pictures: list[Picture] = []
    document: str | None = None
    composite: str | None = None
    layers: list[dict[str, Any]] = []

    @property
    def blobs(self) -> tuple[str, ...]:
        """All that it names."""
        of_pictures = [blob for p in self.pictures for blob in (p.layer, p.composite, p.object, p.effects) if blob]
        return (*of_pictures, *(blob for blob in (self.document, self.composite) if blob))


def result_of(job: Job) -> Result:
    """The result of a job that succeeded."""
    assert job.status == SUCCEEDED and job.outcome is not None
    return Result.model_validate(job.outcome)
