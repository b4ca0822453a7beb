"""Captions for records that bring none: refused, or written by BLIP-2, as the paper does on RORem.

They become part of the frozen list: an evaluation on the list of an earlier one draws with the same prompts.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bfs_model.errors import BadInput
from bfs_platform.console.progress import progress
from bfs_platform.console.screen import say
from bfs_platform.data.model.base import Answer, identities, open_model
from bfs_platform.data.record import Record, Reject
from bfs_platform.data.source.read import read_part
from bfs_platform.data.spec import DataSpec, ModelsSpec
from bfs_platform.data.stage.decode import decode
from bfs_platform.evaluate.run.actors import spread
from bfs_platform.evaluate.samples import Entry
from bfs_platform.evaluate.spec import EvaluationSpec


def captioned(entries: Sequence[Entry], root: Path, spec: EvaluationSpec) -> tuple[list[Entry], dict[str, Any]]:
    """Entries with a caption for each that lacks one, and name and hash of the model that wrote them, if one did.

    Extraction goes without. Needs a connected Ray where captions are written.
    Raises: `BadInput` where records lack captions and nothing writes them, or when BLIP-2 is not to be had.
    """
    wanted = [i for i, e in enumerate(entries) if e.row.problem is None and (_lacks(e) or (_writes(spec) and spec.caption.replace))]
    if not wanted:
        return list(entries), {}
    if not _writes(spec):
        if spec.task == "insertion":
            raise _refusal([entries[i] for i in wanted], len(entries), root)
        say(f"{len(wanted)} of {len(entries)} records have no caption, first {entries[wanted[0]].row.id}: they are extracted without.")
        return list(entries), {}
    models = ModelsSpec(blip2=spec.models.blip2, batch_size=spec.models.batch_size)
    build = DataSpec(stage=2, buckets=((512, 512),), caption=spec.caption, models=models)  # of which only captions are read
    wrote = identities(build)["blip2"]
    out = list(entries)
    items = [{"position": i, "entry": entries[i].to_json()} for i in wanted]
    with progress("captions", len(items), "records") as show:
        for number, row in enumerate(spread(Captioner, (root, build, spec.max_pixels), items, spec, models.batch_size), 1):
            entry = entries[int(row["position"])]
            told = replace(entry.row, caption=str(row["caption"]), problem=str(row["problem"]) or None)
            out[int(row["position"])] = replace(entry, row=told)
            show(number)
    return out, wrote


class Captioner:
    """A callable for `map_batches`: `position` and `entry` (JSON) in; `position`, `caption`, and `problem` of what gets none, out.

    What cannot be read stays as it is: whoever draws it says why.
    """

    def __init__(self, root: Path, spec: DataSpec, max_pixels: int) -> None:
        self.root, self.max_pixels = root, max_pixels
        self.model = open_model("blip2", spec)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        read = [self._read(Entry.from_json(str(text))) for text in batch["entry"]]
        answers = iter(self.model([record for record in read if record is not None]))
        captions, problems = zip(*[("", "") if record is None else _told(next(answers)) for record in read], strict=True)
        return {"position": [int(i) for i in batch["position"]], "caption": [*captions], "problem": [*problems]}

    def _read(self, entry: Entry) -> Record | None:
        try:
            return decode(entry.row, lambda part: read_part(self.root, part), self.max_pixels)
        except (Reject, BadInput):
            return None


def _told(answer: Answer) -> tuple[str, str]:
    caption = answer.caption if isinstance(answer, Record) else ""
    return caption, "" if caption.strip() else "it brings no caption, and BLIP-2 says nothing of it"


def _writes(spec: EvaluationSpec) -> bool:
    return spec.caption.kind == "blip2"


def _lacks(entry: Entry) -> bool:
    return not entry.row.caption.strip()


def _refusal(lacking: Sequence[Entry], total: int, root: Path) -> BadInput:
    rule = f"has no caption for {len(lacking)} of {total} records, first {lacking[0].row.id}: they would be drawn without a prompt"
    remedy = "put captions.json beside them, {id: caption}, give the --list of an evaluation that has them, or set caption.kind=blip2"
    return BadInput("input", root, rule, remedy)
