#!/usr/bin/env python
"""Make one bundle of a trained model and its base, in half precision: what ships inside the package."""

from pathlib import Path

from bfs_platform.jobs import JobParser, run_job


def main() -> Path:
    parser = JobParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a model folder, or the output of a training job")
    parser.add_argument("--output", required=True, type=Path, help="directory of the bundle; a committed one is replaced")
    parser.add_argument("--reference", help="a bundle whose reference encoder goes in as well (jobs/train_reference.py)")
    parser.add_argument("--take", action="append", default=[], metavar="PART=FOLDER", help="a network of another bundle; repeatable")
    parser.add_argument("--steps", type=int, help="steps that the bundle draws in by default (default: the model's own)")
    parser.add_argument("--true-cfg-scale", type=float, help="how much the prompt counts by default (default: the model's own)")
    arguments = parser.parse_args()
    from bfs_platform.train.launch.pack import pack

    settings = {"default_steps": arguments.steps, "true_cfg_scale": arguments.true_cfg_scale}
    return pack(arguments.model, arguments.output, arguments.reference, arguments.take, settings)


if __name__ == "__main__":
    run_job(main)
