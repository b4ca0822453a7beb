"""The command line of `jobs/build_stage1.py` and `jobs/build_stage2.py`."""

from collections.abc import Sequence

from bfs_platform.config import resolve
from bfs_platform.console.screen import say
from bfs_platform.data.execute.build import build
from bfs_platform.data.execute.finish import BuildFailed
from bfs_platform.data.source.base import names, open_source
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
    try:
        return run(stage, options.source, options.input, options.output, options.recipe, options.set, options.base, options.commercial)
    except BuildFailed as error:
        say(str(error))
        raise SystemExit(1) from None


def run(
    stage: int,
    source: str,
    root: str,
    output: str,
    recipe: str | None,
    changes: Sequence[str],
    base: str = "tiny",
    commercial: bool = False,
) -> Location:
    """Build the training set of `stage`. Returns the manifest's place. Raises `BadInput` and `BuildFailed`."""
    spec = resolve(recipe or f"tabletop_data_stage{stage}", [*changes, f"stage={stage}"], DataSpec)
    return build(open_source(source, root), location(output), spec, base=base, commercial=commercial)
