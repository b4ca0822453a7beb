"""The command line of `jobs/build_stage1.py` and `jobs/build_stage2.py`."""

import sys
from collections.abc import Sequence

from bfs_platform.config import resolve
from bfs_platform.data.build import build
from bfs_platform.data.finish import BuildFailed
from bfs_platform.data.sources.base import names, open_source
from bfs_platform.data.spec import DataSpec
from bfs_platform.jobs import JobParser
from bfs_platform.storage.path import Location, location


def main(stage: int, arguments: Sequence[str] | None = None) -> Location:
    """Build the training set of `stage` as the arguments say. Returns the manifest's place.

    A build that rejects too many records prints one line and leaves with exit code 1.
    """
    parser = JobParser(prog=f"build_stage{stage}.py", description=f"Build the stage-{stage} training set.")
    parser.add_argument("--source", required=True, help=f"layout of the input: {', '.join(names())}")
    parser.add_argument("--input", required=True, help="the source's folder or file, or s3://bucket/prefix")
    parser.add_argument("--output", required=True, help="directory of the dataset, or s3://bucket/prefix")
    parser.add_argument("--recipe", default=f"tabletop_data_stage{stage}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value of the recipe")
    parser.add_argument("--base", default="tiny", help="bundle whose encoders make the latents: tiny, or a folder")
    parser.add_argument("--commercial", action="store_true", help="refuse sources whose licence does not allow commercial use")
    options = parser.parse_args(arguments)
    spec = resolve(options.recipe, [*options.set, f"stage={stage}"], DataSpec)
    source = open_source(options.source, options.input)
    try:
        return build(source, location(options.output), spec, base=options.base, commercial=options.commercial)
    except BuildFailed as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
