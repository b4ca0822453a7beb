"""Orders as data: what a caller asked for, checked, with pictures as names of blobs. As JSON they are rows of the job store."""

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Box = tuple[int, int, int, int]
StepCache = Literal["none", "first_block", "taylorseer"]
Blob = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

REFERENCE = "reference"


class Order(BaseModel):
    """Common to all kinds. `width`, `height`: of the canvas, in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    width: int
    height: int

    @property
    def blobs(self) -> tuple[str, ...]:
        """The pictures that it needs."""
        return ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Capabilities that the model must have."""
        return ()

    @property
    def settings(self) -> tuple[Any, ...] | None:
        """What must be equal for two orders to be drawn as one batch; None where they are never."""
        return None

    @property
    def reserve_bytes(self) -> int:
        """What the results may weigh: kept free for them from the start."""
        return 3 * self.width * self.height


class Drawn(Order):
    """What all orders have that a model carries out."""

    seed: int
    steps: int | None = None
    true_cfg_scale: float | None = None
    step_cache: StepCache = "none"
    split_effects: bool = False


class LayerOrder(Drawn):
    """One object to draw into `box` of `background`; `candidates` of it, with the seeds `seed`, `seed` + 1, …"""

    kind: ClassVar[str] = "layer"
    background: Blob
    box: Box
    prompt: str
    reference: Blob | None = None
    candidates: int = 1

    @property
    def blobs(self) -> tuple[str, ...]:
        return (self.background, *([self.reference] if self.reference else []))

    @property
    def needs(self) -> tuple[str, ...]:
        return (REFERENCE,) * (self.reference is not None)

    @property
    def settings(self) -> tuple[Any, ...] | None:
        if self.reference is not None or self.candidates > 1:
            return None
        return (self.steps, self.true_cfg_scale, self.step_cache)

    @property
    def reserve_bytes(self) -> int:
        return 3 * self.width * self.height * self.candidates

    @property
    def seeds(self) -> list[int]:
        """One per candidate, each a 32-bit number."""
        return [(self.seed + i) % 2**32 for i in range(self.candidates)]


class ExtractionOrder(Drawn):
    """The layer that `composite` shows in `box` over `background`."""

    kind: ClassVar[str] = "extraction"
    composite: Blob
    background: Blob
    box: Box
    prompt: str = ""
    joint_guidance: float = 0.0
    refit: bool = False

    @property
    def blobs(self) -> tuple[str, ...]:
        return (self.composite, self.background)


class SceneLayer(BaseModel):
    """One layer of a scene, drawn by its prompt into its box."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    box: Box
    prompt: str = ""
    seed: int
    steps: int | None = None
    reference: Blob | None = None
    opacity: float = 1.0
    blend_mode: str = "normal"
    visible: bool = True
    split_effects: bool = False


class DocumentOrder(Order):
    """Several layers onto one background, back to front; with `redraw`, only that one anew, the others as in `document`."""

    kind: ClassVar[str] = "document"
    background: Blob
    layers: tuple[SceneLayer, ...]
    redraw: str | None = None
    document: Blob | None = None

    @property
    def blobs(self) -> tuple[str, ...]:
        references = [layer.reference for layer in self.layers if layer.reference]
        return (self.background, *references, *([self.document] if self.document else []))

    @property
    def needs(self) -> tuple[str, ...]:
        return (REFERENCE,) * any(layer.reference for layer in self.layers)

    @property
    def reserve_bytes(self) -> int:
        return 3 * self.width * self.height * (len(self.layers) + 1)


class LayerEdit(BaseModel):
    """What to change of one layer of a document, found by its id or its name. What is left out stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layer: str
    name: str | None = None
    x: int | None = None
    y: int | None = None
    scale: Annotated[float, Field(gt=0, le=16)] | None = None
    opacity: Annotated[float, Field(ge=0, le=1)] | None = None
    blend_mode: str | None = None
    visible: bool | None = None
    split_effects: bool = False
    remove: bool = False


class ExportOrder(Order):
    """A document in another form, changed by `edits`, its layers in `order` (ids or names, from back to front)."""

    kind: ClassVar[str] = "export"
    document: Blob
    edits: tuple[LayerEdit, ...] = ()
    order: tuple[str, ...] | None = None

    @property
    def blobs(self) -> tuple[str, ...]:
        return (self.document,)


KINDS: dict[str, type[Order]] = {order.kind: order for order in (LayerOrder, ExtractionOrder, DocumentOrder, ExportOrder)}
DRAWN_KINDS = (LayerOrder.kind, ExtractionOrder.kind, DocumentOrder.kind)

AnyOrder = TypeVar("AnyOrder", bound=Order)


def parse(kind: str, order: dict[str, Any]) -> Order:
    """An order as the store holds it."""
    return KINDS[kind].model_validate(order)
