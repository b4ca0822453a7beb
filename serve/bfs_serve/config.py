"""The Serve config for a cluster: `python -m bfs_serve.config model=models:/bfs@champion max_replicas=4 > infra/serve.yaml`.

`serve build` cannot render an application that comes from a builder, so this does; `serve deploy infra/serve.yaml` reads it.
"""

import sys
from typing import Any

import yaml
from pydantic import ValidationError

from bfs_serve.app import INGRESS, SAMPLER, AppArgs
from bfs_serve.runtime import APP_NAME, PROXY, REQUEST_TIMEOUT_S

DEFAULTS = {"model": "models:/bfs@champion", "max_replicas": "4", "ingress_replicas": "2"}
_PROXY = "".join(f"#   {name}={value}\n" for name, value in PROXY.items())
_HEADER = f"""\
# Rendered by `python -m bfs_serve.config`; change it there or by its arguments. Deploy it with `serve deploy infra/serve.yaml`.
# Every node needs in its environment, before Ray starts:
#   RAY_AUTH_MODE=token
{_PROXY}#   BFS_API_KEYS_FILE=<file of hashed keys>   (without it only connections to loopback addresses are answered)
# What stands in user_config may be changed while replicas run; any change of args replaces all of them.
# Several nodes need store=postgresql://USER@HOST/DATABASE and blobs=s3://BUCKET/PREFIX as well.
"""


class _Plain(yaml.SafeDumper):
    """Without anchors: what is equal here may be changed apart."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(settings: dict[str, str]) -> str:
    """YAML for `serve deploy`. `settings` are fields of `AppArgs`; they are checked, and written with their types."""
    args = AppArgs.model_validate(settings)
    given = {name: getattr(args, name) for name in settings}
    deployments = [{"name": name, "user_config": args.changeable()} for name in (INGRESS, SAMPLER)]
    config: dict[str, Any] = {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": 8000, "request_timeout_s": REQUEST_TIMEOUT_S},
        "logging_config": {"encoding": "JSON", "log_level": "INFO"},
        "applications": [
            {"name": APP_NAME, "route_prefix": "/", "import_path": "bfs_serve.app:build", "args": given, "deployments": deployments}
        ],
    }
    return _HEADER + yaml.dump(config, Dumper=_Plain, sort_keys=False)


def main(arguments: list[str]) -> int:
    """Print the config for the defaults and the `key=value` arguments."""
    settings = DEFAULTS | {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    try:
        print(render(settings), end="")
    except ValidationError as error:
        first = error.errors()[0]
        print(f"{first['loc'][0] if first['loc'] else 'arguments'}: {first['msg']}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
