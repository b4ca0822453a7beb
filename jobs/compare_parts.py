#!/usr/bin/env python
"""The paper's Fig. 4 in numbers: full training against training without a stage or a loss, at one budget, over several seeds."""

from pathlib import Path

from bfs_platform.jobs import JobParser, run_job


def main() -> Path:
    parser = JobParser(description=__doc__)
    parser.add_argument("--recipe", default="tabletop_parts", help="name of a recipe or a spec.json")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the recipe; repeatable")
    parser.add_argument("--synthetic", required=True, metavar="DIR", help="stage-1 set")
    parser.add_argument("--natural", required=True, metavar="DIR", help="stage-2 set")
    parser.add_argument("--base", default="tiny", help="bundle whose backbone, VAEs and compositor are used")
    parser.add_argument("--input", required=True, metavar="DIR", help="scenes to measure on, in RORem's layout")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of all runs; repeat the command to go on")
    arguments = parser.parse_args()
    from bfs_platform.config import resolve
    from bfs_platform.evaluate.run.parts import Inputs, compare
    from bfs_platform.evaluate.spec import PartsSpec

    spec = resolve(arguments.recipe, arguments.set, PartsSpec)
    inputs = Inputs(arguments.synthetic, arguments.natural, arguments.base, arguments.input)
    return compare(spec, inputs, arguments.output.absolute())


if __name__ == "__main__":
    run_job(main)
