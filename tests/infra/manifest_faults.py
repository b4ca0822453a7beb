"""A fault of each kind for each rule, with the overlay that it is planted into and what the rule says of it."""

from collections.abc import Callable
from typing import Any

from manifests import Document, of_kind, title

Plant = Callable[[list[Document]], None]


def _service(documents: list[Document]) -> Document:
    return of_kind(documents, "RayService")[0]["spec"]


def _served(documents: list[Document]) -> Document:
    return _service(documents)["rayClusterConfig"]


def _cluster(documents: list[Document]) -> Document:
    return of_kind(documents, "RayCluster")[0]["spec"]


def _head(documents: list[Document]) -> Document:
    return _cluster(documents)["headGroupSpec"]["template"]["spec"]


def _settings(documents: list[Document]) -> Document:
    return _named("ConfigMap", "bfs-settings")(documents)["data"]


def _mlflow(documents: list[Document]) -> Document:
    return _named("Deployment", "mlflow")(documents)["spec"]["template"]["spec"]["containers"][0]


def _job(documents: list[Document], name: str = "build-stage1") -> Document:
    return _named("RayJob", name)(documents)


def _put(at: Callable[[list[Document]], Any], key: Any, value: Any) -> Plant:
    def change(documents: list[Document]) -> None:
        at(documents)[key] = value

    return change


def _said(key: str, old: str, new: str, job: str = "build-stage1") -> Plant:
    """A change inside the service's configuration or a job's command."""

    def change(documents: list[Document]) -> None:
        spec = _service(documents) if key == "serveConfigV2" else _job(documents, job)["spec"]
        assert old in spec[key]
        spec[key] = spec[key].replace(old, new)

    return change


def _named(kind: str, name: str) -> Callable[[list[Document]], Document]:
    return lambda documents: next(d for d in documents if title(d) == f"{kind}/{name}")


def _without(kind: str, name: str) -> Plant:
    """The document is not there."""
    return lambda documents: documents.remove(_named(kind, name)(documents))


def _policy(name: str, direction: str = "ingress") -> Callable[[list[Document]], Document]:
    """The first rule of a network policy."""
    return lambda documents: _named("NetworkPolicy", name)(documents)["spec"][direction][0]


def _budget(name: str) -> Callable[[list[Document]], Document]:
    return lambda documents: _named("PodDisruptionBudget", name)(documents)["spec"]


def _server(old: str, new: str) -> Plant:
    """A change of a word of MLflow's command."""

    def change(documents: list[Document]) -> None:
        words = _mlflow(documents)["command"]
        (at,) = [n for n, word in enumerate(words) if old in word]
        words[at] = words[at].replace(old, new)

    return change


def _told(name: str) -> Callable[[list[Document]], Document]:
    """A variable of MLflow's server."""
    return lambda documents: next(variable for variable in _mlflow(documents)["env"] if variable["name"] == name)


def _alert(documents: list[Document]) -> Document:
    return _kind("PrometheusRule")(documents)["spec"]["groups"][1]["rules"][0]


def _workers(documents: list[Document]) -> Document:
    return _cluster(documents)["workerGroupSpecs"][0]


def _endpoint(documents: list[Document]) -> Document:
    return _kind("PodMonitor")(documents)["spec"]["podMetricsEndpoints"][0]


def _kind(kind: str) -> Callable[[list[Document]], Any]:
    return lambda documents: of_kind(documents, kind)[0]


_SHARED = "store: postgresql://bfs@postgres:5432/serve"
FAULTS: list[tuple[str, str, Plant, str]] = [
    ("schema", "gpu", _put(_cluster, "enableInTreeAutoscalling", True), "enableInTreeAutoscalling"),
    ("schema", "gpu", _put(_workers, "minReplicas", "one"), "'one' is not of type 'integer'"),
    ("schema", "production", _put(lambda d: _cluster(d)["gcsFaultToleranceOptions"], "backend", "etcd"), "'etcd' is not one of"),
    ("operator", "gpu", _put(lambda d: _kind("RayService")(d)["metadata"], "name", "b" * 48), "no name that the operator takes"),
    ("operator", "gpu", _put(lambda d: _service(d)["upgradeStrategy"], "type", "Recreate"), "upgradeStrategy.type=Recreate"),
    ("operator", "gpu", _put(_head, "restartPolicy", "Always"), "restarts its pods"),
    ("operator", "gpu", _put(_cluster, "authOptions", {"mode": "token"}), "a token that changes"),
    ("operator", "gpu", _put(_cluster, "rayVersion", "2.9.0"), "rayVersion is 2.9.0"),
    ("operator", "gpu", _put(lambda d: _kind("PodDisruptionBudget")(d)["spec"], "minAvailable", "50%"), "a whole minAvailable"),
    ("operator", "gpu/jobs", _put(lambda d: _job(d)["spec"], "submissionMode", "SidecarMode"), "SidecarMode forbids"),
    ("operator", "gpu/jobs", _put(lambda d: _job(d)["spec"], "shutdownAfterJobFinishes", True), "has both"),
    ("operator", "gpu/jobs", _put(lambda d: _job(d)["spec"], "activeDeadlineSeconds", 0), "may run, and cost, for ever"),
    (
        "operator",
        "gpu",
        _put(lambda d: _cluster(d)["headGroupSpec"], "headService", {"metadata": {"name": "ray"}}),
        "names its head service",
    ),
    ("operator", "gpu", _put(lambda d: _cluster(d)["authOptions"], "enableK8sTokenAuth", True), "has enableK8sTokenAuth"),
    ("operator", "gpu", _put(_workers, "replicas", 9), "cpu replicas are not between"),
    ("operator", "gpu/jobs", _put(lambda d: _job(d)["spec"], "submissionMode", "BatchMode"), "submissionMode=BatchMode is unknown"),
    ("serve", "gpu", _said("serveConfigV2", "import_path", "importpath"), "serveConfigV2"),
    ("serve", "gpu", _said("serveConfigV2", "max_replicas", "max_replica"), "max_replica"),
    ("serve", "gpu", _said("serveConfigV2", "port: 8000", "port: 8001"), "is not what bfs_serve.config renders"),
    ("references", "gpu", _put(lambda d: _mlflow(d)["env"][0]["valueFrom"]["secretKeyRef"], "key", "passwort"), "key passwort"),
    ("references", "gpu", _put(lambda d: _mlflow(d)["envFrom"][0]["configMapRef"], "name", "bfs"), "wants the ConfigMap bfs"),
    ("references", "gpu", _put(lambda d: _mlflow(d)["volumeMounts"][0], "name", "scrach"), "mounts scrach"),
    ("references", "gpu", _put(_head, "serviceAccountName", "ray"), "wants the ServiceAccount ray"),
    ("references", "gpu", _put(lambda d: _kind("PersistentVolumeClaim")(d)["metadata"], "name", "data"), "PersistentVolumeClaim bfs-data"),
    (
        "references",
        "gpu",
        lambda d: _head(d)["volumes"].append({"name": "spare", "emptyDir": {}}),
        "the volume spare, which nothing mounts",
    ),
    ("hosts", "gpu", _put(lambda d: _kind("ConfigMap")(d)["data"], "MLFLOW_TRACKING_URI", "http://mlfow:5000"), "speaks to mlfow"),
    ("hosts", "gpu", _put(lambda d: _kind("ConfigMap")(d)["data"], "MLFLOW_TRACKING_URI", "http://mlflow:5001"), "port 5001 of mlflow"),
    ("ports", "gpu", _put(lambda d: _mlflow(d)["ports"][0], "name", "web"), "probed at the port http"),
    ("ports", "gpu", _put(_endpoint, "port", "metric"), "scrapes metric"),
    ("ports", "gpu", _put(lambda d: _named("Service", "mlflow")(d)["spec"]["ports"][0], "targetPort", "web"), "to web, which no pod has"),
    ("selectors", "gpu", _put(_kind("PodDisruptionBudget"), "spec", {"selector": {"matchLabels": {"app": "x"}}}), "selects no pod"),
    ("images", "gpu", _put(lambda d: _head(d)["containers"][0], "image", "registry.example.com/bfs:latest"), "no image of this version"),
    ("privileges", "gpu", _put(_head, "securityContext", {}), "may run as root"),
    ("privileges", "gpu", _put(lambda d: _mlflow(d), "securityContext", {"privileged": True}), "may do more than it needs"),
    ("privileges", "gpu", _put(lambda d: _mlflow(d), "resources", {}), "does not say what it needs"),
    ("privileges", "gpu", _put(lambda d: _mlflow(d)["securityContext"], "capabilities", {}), "keeps capabilities"),
    ("commands", "gpu/jobs", _said("entrypoint", "--recipe", "--recip"), "the option --recip, which it lacks"),
    ("commands", "gpu/jobs", _said("entrypoint", "flux_data_stage1", "flux_data_stage3"), "recipe=flux_data_stage3 is not a recipe"),
    ("commands", "gpu/jobs", _said("entrypoint", "models.flux_shadow", "models.flux_shade"), "flux_shade"),
    ("commands", "gpu/jobs", _said("entrypoint", "build_stage1.py", "build_stage3.py"), "which does not exist"),
    ("commands", "gpu", _put(lambda d: _mlflow(d), "command", ["mlflow", "server", "--hosts=0.0.0.0"]), "the option --hosts"),
    ("commands", "gpu", _put(lambda d: _mlflow(d), "command", ["mlfow", "server"]), "nothing that we know"),
    ("network", "gpu", _without("NetworkPolicy", "ray-inside"), "ray is closed to pods app.kubernetes.io/part-of=bfs on every port"),
    ("network", "gpu", _put(_policy("ray-inside"), "ports", [{"port": 6379}]), "ray is closed to pods app.kubernetes.io/part-of"),
    ("network", "gpu", _put(_policy("ray-inside", "egress"), "ports", [{"port": 6379}]), "ray does not reach pods"),
    ("network", "gpu", _put(_policy("metrics"), "from", []), "ray is open to anyone on 44217, 44227, 8000, 8080, which is not meant"),
    ("network", "gpu", _put(_policy("metrics"), "from", [{"podSelector": {}}]), 'ray is open to {"podSelector": {}} on 44217'),
    ("network", "gpu", _put(_policy("service"), "ports", []), "ray is open to namespace ingress on every port, which is not meant"),
    ("network", "gpu", _without("NetworkPolicy", "closed"), "mlflow-gc is open to anyone on every port"),
    ("network", "gpu", _put(_policy("out", "egress"), "ports", []), "mlflow reaches anyone on every port"),
    ("network", "gpu", lambda d: _policy("metrics")(d)["ports"].pop(0), "scrapes port 8080, which no policy opens"),
    ("mlflow", "gpu", _server("basic-auth", "default"), "asks for no login: app-name is default"),
    ("mlflow", "gpu", _put(_told("MLFLOW_AUTH_CONFIG_PATH"), "value", "/etc/mlflow/auth.txt"), "no login: authorization_function in"),
    ("mlflow", "gpu", _put(lambda d: _named("ConfigMap", "mlflow-auth")(d)["data"], "auth.ini", "[mlflow]"), "default_permission=None"),
    ("mlflow", "gpu", _put(_told("MLFLOW_AUTH_ADMIN_PASSWORD"), "valueFrom", {}), "takes MLFLOW_AUTH_ADMIN_PASSWORD from no secret"),
    ("mlflow", "gpu", _server("mlflow.bfs:5000", "*"), "answers to *, which is no name of Service/mlflow"),
    ("mlflow", "gpu", _server("mlflow.bfs:5000,", ""), "does not answer to mlflow.bfs:5000"),
    ("mlflow", "gpu", _put(_told("MLFLOW_SERVER_ENABLE_JOB_EXECUTION"), "value", "true"), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"),
    ("grace", "gpu", _put(_head, "terminationGracePeriodSeconds", 900), "is killed after 900 s, before its drain of 930 s is over"),
    ("grace", "gpu", _put(_settings, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "900"), "drains for 900 s, and a request may take 900 s"),
    ("grace", "gpu/jobs", lambda d: _settings(d).pop("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"), "drains for 30 s"),
    ("grace", "gpu", _said("serveConfigV2", "ingress_grace_s: 330", "ingress_grace_s: 300"), "a request may be waited for 300 s"),
    ("placement", "gpu", _put(lambda d: _served(d)["headGroupSpec"]["rayStartParams"], "num-cpus", "1"), "ingress may stand on the head"),
    (
        "placement",
        "gpu",
        _said("serveConfigV2", f"ingress_per_node: 1\n    ingress_grace_s: 330\n    {_SHARED}", "store: /data/jobs.db"),
        "the head, and is lost",
    ),
    ("placement", "laptop", lambda d: _served(d)["workerGroupSpecs"][0]["rayStartParams"].pop("num-cpus"), "sampler has no place"),
    ("disruption", "gpu/jobs", _put(_budget("ray-workers"), "minAvailable", 1), "a drain may take RayJob/stage1 gpu"),
    ("disruption", "gpu", _without("PodDisruptionBudget", "ray-head"), "head stands under no budget"),
    (
        "disruption",
        "gpu",
        lambda d: _budget("ray-workers")(d)["selector"].pop("matchExpressions"),
        "stands under PodDisruptionBudget/ray-service and PodDisruptionBudget/ray-workers",
    ),
    ("disruption", "gpu", _put(_budget("ray-service"), "minAvailable", 2), "waits for ever"),
    ("disruption", "production", _said("serveConfigV2", "ingress_per_node: 1", "ingress_per_node: 0"), "ray-service keeps 1 of the 1"),
    ("disruption", "gpu", _said("serveConfigV2", "ingress_replicas: 2", "ingress_replicas: 1"), "keeps 1 of the 1 workers"),
    ("disruption", "gpu", _put(lambda d: _cluster(d)["workerGroupSpecs"][0], "minReplicas", 1), "an idle worker stays"),
    ("monitoring", "gpu", _put(_endpoint, "targetport", 1), "'targetport' was unexpected"),
    (
        "monitoring",
        "gpu",
        lambda d: _kind("ServiceMonitor")(d)["spec"]["endpoints"][0]["authorization"]["credentials"].pop("key"),
        "'key' is a required property",
    ),
    ("monitoring", "gpu", _put(_alert, "for", "3 minutes"), "'3 minutes' does not match"),
    (
        "runbooks",
        "gpu",
        _put(lambda d: _alert(d)["annotations"], "runbook_url", "infra/runbooks/lost-head.md"),
        "ServiceSilent leads to infra/runbooks/lost-head.md, which is no address",
    ),
    (
        "runbooks",
        "gpu",
        _put(lambda d: _alert(d)["annotations"], "runbook_url", "https://x/infra/runbooks/lost.md"),
        "lost.md, which is no page of infra/runbooks",
    ),
    ("weights", "gpu/jobs", _said("entrypoint", "--set models.blip2=/data/blip2", ""), "models.blip2=Salesforce/blip2-opt-2.7b"),
    ("weights", "gpu/jobs", _said("entrypoint", "--set models.blip2=/data/blip2", "", "evaluate"), "RayJob/evaluate models.blip2="),
    ("weights", "gpu/jobs", _said("entrypoint", "=/data/vitmatte", "=/models/vitmatte", "build-stage2"), "vitmatte=/models/vitmatte is no"),
    ("weights", "gpu/jobs", _said("entrypoint", "--set learned.clip=/data/clip", "", "evaluate"), "learned.clip=openai/clip-vit-base"),
    (
        "weights",
        "gpu/jobs",
        _said("entrypoint", "/data/evaluation/recipe.json", "paper_evaluation", "promote"),
        "RayJob/promote learned.dino=facebook/dinov2-base is no folder",
    ),
    ("road", "laptop/jobs", _said("entrypoint", "s3://bfs/sets/shadow", "s3://bfs/sets/stage1", "shadow"), "which no job before it makes"),
    ("road", "laptop/jobs", _said("entrypoint", "--validation s3://bfs/sets/validation", "", "stage1"), "stage1 has no held-out losses"),
    ("road", "laptop/jobs", _said("entrypoint", "sets/validation", "sets/stage2", "stage2"), "stage2 has no held-out losses"),
    ("road", "laptop/jobs", _said("entrypoint", "/data/promotion-first", "/data/promotion", "promote-first"), "writes /data/promotion, as"),
    ("road", "gpu/jobs", _without("RayJob", "build-validation"), "RayJob/stage1 reads s3://bfs/sets/validation"),
    ("road", "gpu/jobs", _said("entrypoint", "flux_pixels", "flux_data_stage1", "build-pixels"), "no job takes the step 'pictures for"),
    (
        "road",
        "gpu/jobs",
        _said("entrypoint", "rorem-held-out", "rorem", "build-validation"),
        "lacks --input s3://bfs/sources/rorem-held-out",
    ),
    ("training", "laptop/jobs", _said("entrypoint", "--set num_workers=1", "", "shadow"), "RayJob/shadow trains on the head"),
    ("promotion", "gpu/jobs", _said("entrypoint", "--canary 0.1", "", "promote"), "promotes by --input: give --input and --canary"),
    (
        "promotion",
        "gpu/jobs",
        _said("entrypoint", "--input /data/rorem-test", "--evaluation /data/evaluation", "promote"),
        "promotes by --canary and --evaluation",
    ),
    ("promotion", "gpu/jobs", _without("RayJob", "promote"), "no job compares a candidate with the champion"),
    ("promotion", "gpu/jobs", lambda d: _job(d, "promote")["spec"].pop("runtimeEnvYAML"), "fetches the champion into BFS_HOME="),
]
