"""What the service answers, as pydantic models: the published schema of its JSON."""

import base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from bfs_model.errors import BadInput

Status = Literal["queued", "running", "succeeded", "failed", "canceled"]
Kind = Literal["layer", "extraction", "document", "export"]
Part = Literal["layer", "composite", "object", "effects"]


class Progress(BaseModel):
    """Denoising steps done, of how many."""

    step: int
    steps: int


class Links(BaseModel):
    """Where the job, its events and its result are found."""

    self: str
    events: str
    result: str


class ModelName(BaseModel):
    """A model by name and version."""

    name: str
    version: str


class Timings(BaseModel):
    """Seconds: waiting, drawing, and from acceptance to the end."""

    queued_s: float
    generation_s: float
    total_s: float


class JobView(BaseModel):
    """A job as `GET /v1/jobs/{id}` shows it; members that do not apply are left out."""

    id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
    kind: Kind
    status: Status
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    expires_at: str | None = Field(default=None, description="when the result is forgotten")
    queue_position: int | None = Field(default=None, description="jobs in front of this one, while queued")
    progress: Progress | None = None
    attempt: int
    width: int
    height: int
    box: list[int] | None = None
    prompt: str | None = None
    seed: int | None = None
    seeds: list[int] = Field(default=[], description="of each candidate")
    steps: int | None = None
    model: ModelName | None = None
    warnings: list[str] = []
    timings: Timings | None = None
    problem: dict[str, Any] | None = Field(default=None, description="why it failed, as a problem document")
    num_events: int
    request_id: str | None = Field(default=None, description="`X-Request-Id` of the request that started it")
    links: Links


class Candidate(BaseModel):
    """One drawn layer: PNGs of the size of the background, in base64."""

    seed: int
    layer_png: str
    composite_png: str
    object_png: str | None = None
    effects_png: str | None = None


class JobResult(JobView):
    """A finished job with its pictures, PNGs in base64.

    Layers and extractions have `layer_png` and all `candidates`; documents and exports `document_zip` and its `layers`.
    """

    layer_png: str | None = Field(default=None, description="the RGBA layer: object, shadow and reflection")
    composite_png: str | None = Field(default=None, description="the layers over the untouched background")
    object_png: str | None = Field(default=None, description="with split_effects: the object alone")
    effects_png: str | None = Field(default=None, description="with split_effects: its shadow and reflection, to lie under the object")
    candidates: list[Candidate] = []
    document_zip: str | None = None
    layers: list[dict[str, Any]] = []

    def png(self, part: Part = "layer", candidate: int = 0) -> bytes:
        """A picture of a layer or extraction as a file; of a document or export there is only the `composite`.

        Raises `BadInput` for what was not drawn.
        """
        drawn = self.candidates[candidate] if 0 <= candidate < len(self.candidates) else None if candidate else self
        data = getattr(drawn, f"{part}_png", None)
        if data is None:
            shown = part if candidate == 0 else f"{part} of candidate {candidate}"
            raise BadInput("part", shown, "was not drawn", "ask for it with split_effects or candidates")
        return base64.b64decode(data)


class JobPage(BaseModel):
    """Jobs of the caller, newest first; `next` asks for more, and stands in the Link header as well."""

    jobs: list[JobView]
    next: str | None = None


class CandidateView(BaseModel):
    """A version that is, or was last, tried beside the one that the name means."""

    version: str
    state: Literal["tried", "promoted", "taken-back"]
    share: float = Field(description="of new jobs, drawn by it now")
    since: float = Field(description="when the trial began, in seconds since the epoch")
    reason: str | None = None


class ModelView(BaseModel):
    """A model that is served."""

    name: str
    version: str
    state: Literal["ready", "failed", "loading"]
    default: bool
    capabilities: list[str] = []
    default_steps: int | None = None
    true_cfg_scale: float | None = None
    window_size: int | None = None
    vocabulary: dict[str, list[str]] | None = None
    licence: str | None = None
    failed: dict[str, str] = Field(default={}, description="versions that could not be served, and why")
    candidate: CandidateView | None = None


class ModelPage(BaseModel):
    """What is served."""

    models: list[ModelView]
