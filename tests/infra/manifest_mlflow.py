"""What MLflow's server must be told: who may ask, under which names, and that it computes nothing for those who do."""

from collections.abc import Iterator
from configparser import ConfigParser

from manifests import Document, containers, of_kind, templates, title


def mlflow(documents: list[Document]) -> Iterator[str]:
    """A login is asked for, hosts are those of the Service, and neither jobs nor pickles are run."""
    for place, template in templates(documents):
        for container in containers(template):
            if container.get("command", [])[:2] != ["mlflow", "server"]:
                continue
            options = dict(word.removeprefix("--").partition("=")[::2] for word in container["command"][2:])
            told = {variable["name"]: variable for variable in container.get("env", [])}
            yield from (f"{place} {line}" for line in _login(documents, template, container, options, told))
            yield from (f"{place} {line}" for line in _hosts(documents, template, options))
            for name in ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
                if told.get(name, {}).get("value") != "false":
                    yield f"{place} is not told {name}=false: it would run what a caller sends"


def _login(
    documents: list[Document], template: Document, container: Document, options: dict[str, str], told: dict[str, Document]
) -> Iterator[str]:
    if options.get("app-name") != "basic-auth":
        yield f"asks for no login: app-name is {options.get('app-name')}, not basic-auth"
    for name in ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"):
        if "secretKeyRef" not in told.get(name, {}).get("valueFrom", {}):
            yield f"takes {name} from no secret"
    path = told.get("MLFLOW_AUTH_CONFIG_PATH", {}).get("value", "")
    settings = ConfigParser()
    settings.read_string(_mounted(documents, template, container, path) or "[mlflow]\n")
    given = settings["mlflow"]
    if not given.get("authorization_function", "").endswith(":authenticate_request_basic_auth"):
        yield f"asks for no login: authorization_function in {path or 'no file'} is {given.get('authorization_function')}"
    if given.get("default_permission") != "NO_PERMISSIONS":
        yield f"gives whoever has a login default_permission={given.get('default_permission')}, not NO_PERMISSIONS"


def _mounted(documents: list[Document], template: Document, container: Document, path: str) -> str | None:
    """The text of a file that a container has from a ConfigMap."""
    folder, _, name = path.rpartition("/")
    volumes = {volume["name"]: volume.get("configMap", {}).get("name") for volume in template["spec"]["volumes"]}
    maps = {volumes.get(mount["name"]) for mount in container["volumeMounts"] if mount["mountPath"] == folder}
    return next((d["data"].get(name) for d in of_kind(documents, "ConfigMap") if d["metadata"]["name"] in maps), None)


def _hosts(documents: list[Document], template: Document, options: dict[str, str]) -> Iterator[str]:
    """Names by which the Service is called from inside; by any other, a page in somebody's browser could speak to it."""
    labels = template["metadata"]["labels"]
    services = [d for d in of_kind(documents, "Service") if d["spec"].get("selector", {"": ""}).items() <= labels.items()]
    names = [(service["metadata"]["name"], port["port"]) for service in services for port in service["spec"]["ports"]]
    wanted = {f"{name}{rest}:{port}" for name, port in names for rest in ("", ".bfs", ".bfs.svc", ".bfs.svc.cluster.local")}
    allowed = set(filter(None, options.get("allowed-hosts", "*").split(",")))
    if "disable-security-middleware" in options:
        yield "answers whatever Host it is called by: --disable-security-middleware"
    yield from (f"answers to {host}, which is no name of {', '.join(map(title, services))}" for host in sorted(allowed - wanted))
    yield from (f"does not answer to {host}" for host in sorted(wanted - allowed))
