"""What the Prometheus operator is given: closed schemas of the fields that our documents have, and alerts that lead to a page."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft7Validator
from manifests import ROOT, Document, of_kind, title

Schema = dict[str, Any]


def _closed(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object of these fields and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _some(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _document(kind: str, spec: Schema) -> Schema:
    """As `kind` of the operator, which finds it by its label."""
    metadata = _closed(("namespace",), name=_TEXT, namespace=_TEXT, labels=_closed(release={"const": "prometheus"}))
    return _closed(apiVersion={"const": "monitoring.coreos.com/v1"}, kind={"const": kind}, metadata=metadata, spec=spec)


_TEXT: Schema = {"type": "string", "minLength": 1}
_SELECTOR = _closed(matchLabels={"type": "object", "additionalProperties": _TEXT, "minProperties": 1})
_POD_MONITOR = _closed(jobLabel=_TEXT, selector=_SELECTOR, podMetricsEndpoints=_some(_closed(port=_TEXT)), podTargetLabels=_some(_TEXT))
_ENDPOINT = _closed(port=_TEXT, path={"type": "string", "pattern": "^/"}, authorization=_closed(credentials=_closed(name=_TEXT, key=_TEXT)))
_RECORD = _closed(record={"type": "string", "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"}, expr=_TEXT)
_DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w|y))+$"}
_ALERT = _closed(
    ("for",),
    alert=_TEXT,
    expr=_TEXT,
    labels=_closed(severity={"enum": ["page", "ticket", "note"]}),
    annotations=_closed(summary=_TEXT, runbook_url=_TEXT),
    **{"for": _DURATION},
)
_RULE: Schema = {"if": {"required": ["record"]}, "then": _RECORD, "else": _ALERT}
SCHEMAS = {
    "PodMonitor": _document("PodMonitor", _POD_MONITOR),
    "ServiceMonitor": _document("ServiceMonitor", _closed(selector=_SELECTOR, endpoints=_some(_ENDPOINT))),
    "PrometheusRule": _document("PrometheusRule", _closed(groups=_some(_closed(name=_TEXT, rules=_some(_RULE))))),
}


def monitoring(documents: list[Document]) -> Iterator[str]:
    """Monitors and rules against their schemas."""
    for document in of_kind(documents, *SCHEMAS):
        for error in Draft7Validator(SCHEMAS[document["kind"]]).iter_errors(document):
            yield f"{title(document)} {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"


def runbooks(documents: list[Document]) -> Iterator[str]:
    """Each alert has an address that leads to a page of infra/runbooks from wherever it is shown."""
    for document in of_kind(documents, "PrometheusRule"):
        for rule in [rule for group in document["spec"]["groups"] for rule in group["rules"] if "alert" in rule]:
            url = rule["annotations"]["runbook_url"]
            parts = urlsplit(url)
            _, _, page = parts.path.partition("/infra/runbooks/")
            if parts.scheme not in ("http", "https") or not parts.netloc or "//" in parts.path:
                yield f"{title(document)} {rule['alert']} leads to {url}, which is no address"
            elif not page or not (ROOT / "infra/runbooks" / page).is_file():
                yield f"{title(document)} {rule['alert']} leads to {url}, which is no page of infra/runbooks"
