"""The service of a stack: deployed on its cluster through Serve's REST API, as the operator of a cluster does it.

No process of ours holds it: Serve's controller starts again what dies.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from bfs_platform.console.screen import say
from bfs_platform.jobs import Failure
from bfs_platform.stack import storage
from bfs_platform.stack.probe import Unanswered, ask, ask_json, problem_of
from bfs_platform.stack.program import STOPPED, UP
from bfs_platform.stack.state import Stack

NAME = "service"
_APPLICATIONS = "/api/serve/applications/"
_LOOK_S = 0.5
_EMBEDDED, _CHAMPION = "tiny", "models:/bfs@champion"
_NONE = (400, 404)  # what MLflow answers where there is no such alias, and where there is no such model
_STALE_S = 10.0  # for so long, the state may be that of an earlier try
_GONE = ("DEPLOY_FAILED", "UNHEALTHY")


@dataclass(frozen=True)
class Application:
    """`environment`: that of the program which renders the configuration."""

    environment: Mapping[str, str]
    name: str = NAME
    needs: tuple[str, ...] = ("ray",)
    ports: tuple[str, ...] = (NAME,)
    within_s: float = 900.0  # a large model is fetched and loaded meanwhile; what fails says so at once
    grace_s: float = 120.0
    config: dict[str, Any] = field(default_factory=dict)

    def state(self, stack: Stack) -> str:
        """`up`, `stopped` or what is wrong, in one line."""
        try:
            found = self._deployed(stack)
        except Unanswered:
            return STOPPED
        if found is None:
            return STOPPED
        return problem_of(f"{stack.url(NAME)}/readyz") or UP

    def model(self, stack: Stack) -> str:
        """What is served, as it was asked for and as it is; an empty text where nothing is."""
        try:
            found = self._deployed(stack)
            wanted = str(found["deployed_app_config"]["args"]["model"]) if found else ""
            return ", ".join(f"{m['name']} {m['version'][:12]}" for m in ask_json(f"{stack.url(NAME)}/v1/models")["models"]) or wanted
        except (Unanswered, KeyError, TypeError):
            return ""

    def version(self, stack: Stack) -> str:
        """Of the code that answers; empty where it tells key holders only."""
        try:
            return str(ask_json(f"{stack.url(NAME)}/openapi.json")["info"]["version"])
        except (Unanswered, KeyError, TypeError):
            return ""

    def is_well(self, stack: Stack) -> bool:
        """Whether it is ready, with the settings of this stack: where it comes from, its arguments, and what of it changes in place."""
        if self.state(stack) != UP:
            return False
        found = self._deployed(stack) or {}
        return holds(found.get("deployed_app_config"), self._render(stack)["applications"][0])

    def start(self, stack: Stack) -> None:
        """Deploy it and wait until it is ready. Raises `Failure` with what Serve says."""
        try:
            ask(stack.url("dashboard") + _APPLICATIONS, stack.secrets["ray"], "PUT", self._render(stack), within_s=60)
        except Unanswered as reason:
            raise Failure(f"the service cannot be deployed: {reason}") from None
        began, problem = time.monotonic(), "nothing was heard of it"
        while time.monotonic() < began + self.within_s:
            try:
                found = self._deployed(stack)
            except Unanswered as reason:
                found, problem = None, str(reason)
            if found is not None and found["status"] in _GONE and time.monotonic() > began + _STALE_S:
                raise Failure(
                    f"the service does not start: {_why(found)}; Ray's logs lie in {stack.ray_folder / 'session_latest/logs/serve'}"
                )
            if found is not None and found["status"] == "RUNNING":
                problem = problem_of(f"{stack.url(NAME)}/readyz") or self._other_models(stack)
                if not problem:
                    return
            time.sleep(_LOOK_S)
        raise Failure(f"the service was not ready within {self.within_s:.0f} s: {problem}")

    def stop(self, stack: Stack) -> list[int]:
        """Take it down: replicas end what they are drawing, what waits is kept in the store."""
        with contextlib.suppress(Unanswered):  # a cluster that does not answer is about to be ended itself
            ask(stack.url("dashboard") + _APPLICATIONS, stack.secrets["ray"], "DELETE", within_s=self.grace_s)
        return []

    def _deployed(self, stack: Stack) -> dict[str, Any] | None:
        found = ask_json(stack.url("dashboard") + _APPLICATIONS, stack.secrets["ray"]).get("applications", {})
        return next(iter(found.values()), None)

    def _other_models(self, stack: Stack) -> str:
        """What is served instead of what is wanted, while replicas are replaced; empty when it is that, or is told to key holders only."""
        try:
            served = [model["name"] for model in ask_json(f"{stack.url(NAME)}/v1/models")["models"]]
        except Unanswered:
            return ""
        wanted = [name.strip() for name in self._render(stack)["applications"][0]["args"]["model"].split(",")]
        return "" if served == wanted else f"it still serves {', '.join(served)}"

    def _render(self, stack: Stack) -> dict[str, Any]:
        """The configuration, by the program that owns it; once, as it asks the registry what there is to serve."""
        if not self.config:
            settings = {"model": stack.settings.model or self._served_by_default(stack), "max_replicas": "1", "ingress_replicas": "1"}
            if stack.settings.profile == "full":
                settings |= {"store": storage.database(stack, "serve"), "blobs": storage.folder("serve")}
            command = [sys.executable, "-m", "bfs_serve.config", *(f"{key}={value}" for key, value in settings.items())]
            done = subprocess.run(command, env=dict(self.environment), capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                raise Failure(f"the configuration of the service cannot be made: {done.stderr.strip()}")
            self.config.update(yaml.safe_load(done.stdout))
            self.config["proxy_location"] = "HeadOnly"
            self.config["http_options"] |= {"host": "127.0.0.1", "port": stack.settings.ports[NAME]}
        return self.config

    def _served_by_default(self, stack: Stack) -> str:
        """The champion, or the embedded model while nothing was promoted. Raises `Failure` when the registry does not say.

        What is served from the registry stays so when its champion is gone: samplers have it, and a registry may be restored.
        """
        try:
            ask(f"{stack.url('mlflow')}/api/2.0/mlflow/registered-models/alias?name=bfs&alias=champion")
        except Unanswered as reason:
            if reason.status not in _NONE:
                raise Failure(f"what there is to serve cannot be told ({reason}); run it again, or choose with --model") from None
            with contextlib.suppress(Unanswered, KeyError, TypeError):
                served = str((self._deployed(stack) or {})["deployed_app_config"]["args"]["model"])
                if served.startswith("models:/"):
                    say(f"The registry has no champion any more; {served} stays. Another one: --model tiny")
                    return served
            return _EMBEDDED
        return _CHAMPION


def holds(found: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there: Serve adds its own defaults to what it was given."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and holds(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(holds, found, wanted))
    return bool(found == wanted)


def _why(found: dict[str, Any]) -> str:
    """The last line of what Serve knows about what did not start."""
    messages = [str(found.get("message", "")), *(str(d.get("message", "")) for d in found.get("deployments", {}).values())]
    lines = [line for message in messages for line in message.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1] if lines else str(found["status"])
