"""Options of `bfs generate` that show an object instead of describing it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

Reference = Annotated[
    Path | None, typer.Option(metavar="IMAGE", help="A picture of the object: cut out (RGBA), with --reference-mask, or on plain white.")
]
ReferenceMask = Annotated[Path | None, typer.Option(metavar="IMAGE", help="White where the reference shows the object.")]
ImageWeight = Annotated[float, typer.Option(min=0.0, help="How much the reference counts beside the prompt: 2 is as if given twice.")]
TextWeight = Annotated[float | None, typer.Option(min=0.0, help="How much the prompt counts beside a reference; 1 by default.")]
ReferenceTokens = Annotated[
    int | None, typer.Option(min=1, help="Average the reference to so many tokens, a square number: fewer say less of its details.")
]


@dataclass(frozen=True)
class Shown:
    """What the options say; nothing of it is read before `settings` or `png`."""

    reference: Path | None = None
    mask: Path | None = None
    image_weight: float = 1.0
    text_weight: float | None = None
    num_tokens: int | None = None

    def check(self, prompt: str, url: str | None) -> None:
        """Raises `BadInput` when there is neither prompt nor reference, or what the way over a service cannot take."""
        from bfs_model.document.layer import encodable
        from bfs_model.errors import BadInput

        if prompt != encodable(prompt):
            raise BadInput("prompt", ascii(prompt), "holds bytes that are not UTF-8", "write it in UTF-8")
        if self.reference is None and not prompt.strip():
            raise BadInput("prompt", repr(prompt), "is empty", "describe the object in words, or show it with --reference")
        if self.reference is None and self != Shown():
            raise BadInput("reference", "none", "is given, and other options speak of one", "add --reference")
        weighed = {"image-weight": self.image_weight, "text-weight": self.text_weight, "reference-tokens": self.num_tokens}
        for option, given in weighed.items():
            if url is not None and given not in (None, 1.0):
                raise BadInput(f"--{option}", given, "is not something the service takes", "leave it out, or draw here without --url")

    def settings(self) -> dict[str, Any]:
        """Keyword arguments for the pipeline; none without a reference."""
        if self.reference is None:
            return {}
        weights = {"image_weight": self.image_weight, "text_weight": self.text_weight, "reference_tokens": self.num_tokens}
        return {"reference": self.reference, "reference_mask": self.mask} | weights

    def facts(self) -> dict[str, Any]:
        """What a document records of it."""
        if self.reference is None:
            return {}
        numbers = {"image_weight": self.image_weight, "text_weight": self.text_weight, "reference_tokens": self.num_tokens}
        return {"reference": True} | {key: value for key, value in numbers.items() if value is not None}

    def png(self) -> bytes | None:
        """The reference for a service: one picture, its mask as alpha."""
        if self.reference is None:
            return None
        from bfs_model.picture.images import png_bytes
        from bfs_model.sampling.reference import cut_out

        return png_bytes(cut_out(self.reference, self.mask))
