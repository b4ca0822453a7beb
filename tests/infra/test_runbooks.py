"""Runbooks: what they hold, and that commands for a cluster name what our manifests make. tests/bfs_platform/stack runs the others."""

import re
import shlex
from pathlib import Path

import pytest
from manifests import committed, of_kind
from runbooks import commands, pages

# Short names that kubectl takes, and what the operator makes by itself.
_KINDS = {"pvc": "persistentvolumeclaim", "pods": "pod", "secret": "secret"}
_MADE_BY_OTHERS = {"pod", "namespace", "secret", "job"}


def test_the_list_is_whole(repo_root: Path) -> None:
    """Each page stands in README.md there, and nothing else does."""
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (repo_root / "infra/runbooks/README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == [page.name for page in pages(repo_root)] and len(listed) > 8


def test_every_page_has_its_parts(repo_root: Path) -> None:
    """Impact or needs first, then what to do or to look at, with commands."""
    for page in pages(repo_root):
        text = page.read_text(encoding="utf-8")
        assert "**Impact**" in text or "**Needs**" in text, page.name
        assert re.search(r"^## (Diagnosis|Do)$", text, re.MULTILINE) and list(commands(page)), page.name


def test_every_link_leads_somewhere(repo_root: Path) -> None:
    """Links between pages, and files of the repository that they name."""
    for page in [*pages(repo_root), repo_root / "infra/runbooks/README.md"]:
        text = page.read_text(encoding="utf-8")
        linked = [page.parent / target for target in re.findall(r"\]\(([^)#]+\.md)\)", text)]
        linked += [repo_root / word for word in re.findall(r"(?:infra|docs|jobs|bfs_model)/[\w./-]*\w", text)]
        assert [str(path) for path in linked if not path.exists()] == [], page.name


def _wrong(line: str, known: dict[str, set[str]]) -> str:
    """What a command of kubectl names that is not there; empty where all is."""
    words = [word for word in shlex.split(line.split(" | ")[0]) if word not in ("-n", "bfs")]
    for word in words[1:]:
        kind, _, name = word.partition("/")
        kind = _KINDS.get(kind.removesuffix("s"), kind)
        if name and kind in known and name not in known[kind]:
            return f"{word} in {line}"
    verb = words[1]
    if verb in ("get", "delete", "describe", "patch") and "/" not in words[2]:
        for kind in (_KINDS.get(k, k) for k in words[2].split(",")):
            if kind not in known and kind not in _MADE_BY_OTHERS:
                return f"{kind} in {line}"
            named = words[3] if len(words) > 3 and not words[3].startswith("-") else ""
            if named and kind in known and named not in known[kind]:
                return f"{kind} {named} in {line}"
    return ""


def test_commands_for_a_cluster_name_what_is_there(repo_root: Path) -> None:
    """Kinds and names of our manifests, and overlays that exist; a wrong name is found."""
    known: dict[str, set[str]] = {}
    for document in committed():
        known.setdefault(document["kind"].lower(), set()).add(document["metadata"]["name"])
    found = [(c.place, line) for page in pages(repo_root) for c in commands(page) if c.cluster for line in c.text.splitlines()]
    assert len(found) > 20
    for place, line in found:
        assert line.startswith("kubectl "), place
        assert _wrong(line, known) == "", place
        overlays = re.findall(r"-k (\S+)", line)
        assert all((repo_root / overlay / "kustomization.yaml").is_file() for overlay in overlays), place
        labels = re.findall(r"-l bfs/job=(\S+)", line)
        assert set(labels) <= known["rayjob"], place


def test_the_road_of_a_first_cluster_is_whole(repo_root: Path) -> None:
    """Every job of infra/k8s/jobs is named where people are told which to apply, in their order."""
    text = (repo_root / "infra/runbooks/first-cluster.md").read_text(encoding="utf-8")
    places = {job["metadata"]["name"]: text.find(f"`{job['metadata']['name']}`") for job in of_kind(committed(), "RayJob")}
    assert [name for name, place in places.items() if place < 0] == []
    assert [*places.values()] == sorted(places.values())


@pytest.mark.parametrize(
    "line", ["kubectl -n bfs delete rayjob/stage9", "kubectl -n bfs get raycluter", "kubectl -n bfs describe rayservice bsf"]
)
def test_a_wrong_name_is_found(line: str) -> None:
    """In each form in which a command names something."""
    known = {"rayjob": {"stage1"}, "raycluster": {"bfs"}, "rayservice": {"bfs"}}
    assert _wrong(line, known) != ""
