"""The command line of the training jobs: one shape for all of them."""

from pathlib import Path

from bfs_platform.config import resolve
from bfs_platform.jobs import JobParser, run_job
from bfs_platform.train.spec import TrainSpec


def training_job(recipe: str, description: str, argv: list[str] | None = None) -> None:
    """Parse the arguments of a training job and run it; `recipe` is what `--recipe` defaults to."""
    parser = JobParser(description=description)
    parser.add_argument("--recipe", default=recipe, help=f"name of a recipe or a spec.json (default {recipe})")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the recipe; repeatable")
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="URI",
        help="output of a build job, a directory or s3://bucket/prefix; repeat for both stages",
    )
    parser.add_argument(
        "--validation", metavar="URI", help="set to measure on; else gates are measured on the last part of the training set"
    )
    parser.add_argument("--base", default="tiny", metavar="tiny|fresh|DIR|models:/NAME@ALIAS", help="bundle or model to start from")
    parser.add_argument("--output", required=True, metavar="DIR", help="directory of the run; an interrupted run continues there")
    parser.add_argument("--dry-run", action="store_true", help="check all inputs and stop")
    arguments = parser.parse_args(argv)

    def main() -> Path:
        from bfs_platform.train.launch.launch import fit

        spec = resolve(arguments.recipe, arguments.set, TrainSpec)
        base = arguments.base
        if base.startswith("models:/"):
            from bfs_platform.registry.resolve import resolve as resolve_model

            base = str(resolve_model(base))
        return fit(spec, base, arguments.dataset, Path(arguments.output), validation=arguments.validation, dry_run=arguments.dry_run)

    run_job(main)
