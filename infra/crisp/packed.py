#!/usr/bin/env python
"""What `accelerator.py` trains on, in few bytes, and a bundle of what it writes.

    python infra/crisp/packed.py pack --base crisp/phi/bundle --set natural=crisp/set2 --set synthetic=crisp/set1 \
        --set validation=crisp/validation2 --output crisp/packed
    python infra/crisp/packed.py join --base crisp/phi/bundle --weights OUT --output crisp/accelerated

Eight bits of a latent are a two-hundredth of its channel's spread: far below the noise that it is seen through.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packed_set import NOTHING, SUFFIX, PackedSet, load_pieces

from bfs_model import BFSPipeline
from bfs_model.errors import BadInput
from bfs_platform.data.shard.reading import Dataset, open_dataset
from bfs_platform.train.network.export import save_bundle
from bfs_platform.train.sample.batches import empty_latents, latent_batch
from bfs_platform.train.sample.encoders import check_encoders
from bfs_platform.untrained import check_trained

NETWORKS = ("transformer", "sharing", "compositor")
_NEEDED = ("natural", "synthetic", "validation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("--base", required=True, help="bundle whose RGBA VAE and Φ are trained")
    packing.add_argument("--set", action="append", required=True, metavar="NAME=FOLDER", help=f"each of {', '.join(_NEEDED)}")
    packing.add_argument("--records", type=int, default=10**9, help="the first so many of each set")
    packing.add_argument("--output", type=Path, required=True)
    packing.set_defaults(run=lambda o: pack(o.base, dict(s.partition("=")[::2] for s in o.set), o.records, o.output))
    joining = commands.add_parser("join")
    joining.add_argument("--base", required=True, help="the bundle that was packed")
    joining.add_argument("--weights", type=Path, required=True, help="folder that accelerator.py wrote")
    joining.add_argument("--output", type=Path, required=True)
    joining.set_defaults(run=lambda o: join(o.base, o.weights, o.output))
    options = parser.parse_args()
    try:
        options.run(options)
    except BadInput as error:
        parser.exit(2, f"{error}\n")


def pack(base: str, folders: dict[str, str], num_records: int, output: Path) -> None:
    """Write the sets `folders`, and of `base` the networks that are trained on them."""
    if missing := [name for name in _NEEDED if name not in folders]:
        raise BadInput("set", ", ".join(folders), f"lacks {missing[0]}", f"add --set {missing[0]}=FOLDER")
    check_trained(base, {"rgba_vae": "", "compositor": ""})
    pipe = BFSPipeline.from_pretrained(base)
    opened = {name: open_dataset(folder) for name, folder in folders.items()}
    for dataset in opened.values():
        check_encoders(pipe, dataset, layers=True)
    output.mkdir(parents=True, exist_ok=True)
    for name, dataset in opened.items():
        packed(pipe, dataset, num_records).save(output / f"{name}{SUFFIX}")
    for name in NETWORKS:
        getattr(pipe, name).half().save_pretrained(output / name)


def packed(pipe: BFSPipeline, dataset: Dataset, num_records: int) -> PackedSet:
    """The first records of a set."""
    empty = empty_latents(pipe.rgba_vae, [dataset])
    if len(empty) != 1:
        raise BadInput("set", dataset.root, f"holds pictures of {len(empty)} sizes", "build it with one bucket")
    rows = np.arange(min(num_records, len(dataset)))
    batch = latent_batch(dataset, rows, empty)
    table = dataset.take(rows, ["box", "caption"])
    captions = [NOTHING, *sorted(set(table["caption"]) - {NOTHING})]
    with torch.no_grad():
        prompt_embeds, pooled_embeds = pipe.encode_prompt(captions)
    number = {caption: i for i, caption in enumerate(captions)}
    tensors = {
        "z_comp": batch.z_comp,
        "z_fg": batch.z_fg,
        "z_bg": batch.z_bg,
        "z_empty": batch.z_empty,
        "box": torch.from_numpy(table["box"]).to(torch.int16),
        "caption": torch.tensor([number[caption] for caption in table["caption"]], dtype=torch.int32),
        "prompt_embeds": prompt_embeds,
        "pooled_embeds": pooled_embeds,
    }
    return PackedSet(list(batch.ids), next(iter(empty)), tensors)


def join(base: str, weights: Path, output: Path) -> None:
    """A bundle of `base` with the networks in `weights`; its manifest says how they were trained."""
    log = weights / "losses.jsonl"
    if not log.is_file():
        raise BadInput("weights", weights, "holds no losses.jsonl", "name the folder that accelerator.py wrote")
    pipe = BFSPipeline.from_pretrained(base)
    parts: dict[str, Any] = {}
    for name, files in (("transformer", ["transformer"]), ("sharing", ["sharing-stage2", "sharing-stage1"])):
        found = next((pieces for file in files if (pieces := load_pieces(weights, file))), None)
        if found is not None:
            parts[name] = getattr(pipe, name)
            parts[name].load_state_dict(found)
    if not parts:
        raise BadInput("weights", weights, "holds no networks", "name the folder that accelerator.py wrote")
    phases = [line for line in map(json.loads, log.read_text(encoding="utf-8").splitlines()) if "samples_per_s" in line]
    print(save_bundle(pipe, parts, output, {"training": {"recipe": "crisp on an accelerator", "phases": phases}}))


if __name__ == "__main__":
    main()
