"""Into the registry and back."""

import shutil
from pathlib import Path

import pytest

from bfs_model import integrity
from bfs_model.errors import BadInput, IntegrityError
from bfs_platform.registry import resolve as resolve_module
from bfs_platform.registry.register import register
from bfs_platform.registry.resolve import located, pin, resolve
from bfs_platform.registry.store import Reference, Registry, Unreachable
from bfs_platform.tracking.run import Run
from bfs_platform.tracking.uri import connect


def test_what_was_registered_comes_back(store_uri, make_model) -> None:
    """The resolved folder holds the same files, in a place named by its content."""
    model = make_model(1.5)
    version = register(model, tags={"note": "first"})
    found = resolve(f"models:/bfs/{version}")
    content_hash = integrity.read_manifest(model)["content_hash"]
    assert found.name == content_hash and found.parent.name == "models"
    assert integrity.verify(found, "model") == integrity.read_manifest(model)
    tags = connect(store_uri).get_model_version("bfs", version).tags
    assert tags["note"] == "first" and tags["content_hash"] == content_hash
    assert tags["base.name"] == "tiny" and tags["base.content_hash"] == "0" * 64


def test_the_version_knows_its_run(store_uri, make_model) -> None:
    """A model that a run made is linked to that run."""
    run = Run.start("training", "stage 2")
    version = register(make_model(), run_id=run.run_id)
    assert connect(store_uri).get_model_version("bfs", version).run_id == run.run_id


def test_equal_content_keeps_its_version(store_uri, make_model) -> None:
    """Registering again changes nothing; other content is another version."""
    first = register(make_model(1.0, "a"))
    assert register(make_model(1.0, "b")) == first
    assert register(make_model(2.0, "c")) != first


def test_a_tampered_folder_is_not_registered(store_uri, make_model, tampering) -> None:
    """Nothing of a tampered folder reaches the registry."""
    model = make_model()
    tampering.apply(model)
    with pytest.raises(IntegrityError):
        register(model)
    assert connect(store_uri).search_registered_models() == []


def stored_files(version: str) -> Path:
    """Where the store keeps the files of a version."""
    source = connect().get_model_version("bfs", version).source
    return Path(source.removeprefix("file://"))


def test_a_model_tampered_with_in_the_store_is_not_resolved(store_uri, make_model, tampering, tmp_path) -> None:
    """Damage in the artifact store is noticed on the way out and leaves nothing in the cache. What is not listed is not fetched."""
    version = register(make_model())
    tampering.apply(stored_files(version))
    if tampering.rule == "not listed":
        assert not list(resolve(f"models:/bfs/{version}").rglob("*.pkl"))
        return
    with pytest.raises(BadInput):
        resolve(f"models:/bfs/{version}")
    assert not list((tmp_path / "home" / "cache" / "models").iterdir())


def test_a_damaged_cache_is_fetched_again(store_uri, make_model) -> None:
    """A bit that flips in the cache is noticed at the next use and mended from the registry."""
    version = register(make_model())
    folder = resolve(f"models:/bfs/{version}")
    weights = folder / "sharing" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert resolve(f"models:/bfs/{version}") == folder
    assert weights.read_bytes() == whole


def test_a_source_that_is_not_the_upload_is_refused(store_uri, make_model, tmp_path) -> None:
    """A version that somebody pointed at a directory of the machine is not fetched, even when all hashes are right."""
    model = make_model()
    version = register(model)
    client = connect()
    tags = client.get_model_version("bfs", version).tags
    run_id = client.get_model_version("bfs", version).run_id
    forged = client.create_model_version("bfs", source=model.as_uri(), run_id=run_id, tags=tags).version
    with pytest.raises(IntegrityError, match="not its own upload"):
        resolve(f"models:/bfs/{forged}")


def test_a_version_that_others_made_is_refused(store_uri, make_model) -> None:
    """A version without a content hash was not written by `register`."""
    version = register(make_model())
    connect().delete_model_version_tag("bfs", version, "content_hash")
    with pytest.raises(IntegrityError, match="carries no content hash"):
        resolve(f"models:/bfs/{version}")


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("models:/bfs/7", "is not in the registry"),
        ("models:/other/1", "is not in the registry"),
        ("models:/bfs@champion", "no version carries the alias"),
        ("models:/bfs", "is not a model of the registry"),
        ("models:/../bfs/1", "is not a model of the registry"),
        ("models:/bfs/0", "is not a model of the registry"),
        ("nowhere", "is not a folder"),
    ],
)
def test_what_does_not_exist_is_one_line(store_uri, make_model, uri, rule) -> None:
    """A missing model, version or alias, or a malformed name, is told apart."""
    register(make_model())
    with pytest.raises(BadInput, match=rule):
        resolve(uri)


def test_tiny_and_folders_pass_through(make_model) -> None:
    """What needs no registry does not ask it."""
    model = make_model()
    assert resolve("tiny") == Path("tiny")
    assert resolve(model) == model and pin(model) == str(model)


def test_pin_names_the_version_behind_an_alias(store_uri, make_model) -> None:
    """An alias becomes the version that carries it now."""
    version = register(make_model())
    connect().set_registered_model_alias("bfs", "staging", version)
    assert pin("models:/bfs@staging") == f"models:/bfs/{version}"
    assert resolve("models:/bfs@staging") == resolve(f"models:/bfs/{version}")


def test_who_follows_an_alias_checks_a_version_once(store_uri, make_model, monkeypatch) -> None:
    """Where it leads is asked each time; the files of a version are hashed at the first."""
    checked = []
    fetch = resolve_module.fetch

    def counting(registry, version):
        checked.append(version.version)
        return fetch(registry, version)

    monkeypatch.setattr(resolve_module, "fetch", counting)
    monkeypatch.setattr(resolve_module, "_checked", set())
    hashes = []
    for number in (1.0, 2.0):
        version = register(make_model(number, f"{number:g}"))
        connect(store_uri).set_registered_model_alias("bfs", "champion", version)
        for _ in range(2):
            uri, content_hash = located("models:/bfs@champion")
            assert uri == f"models:/bfs/{version}" and resolve(uri).name == content_hash
            hashes.append(content_hash)
            checked.pop()  # by `resolve`
    assert len(checked) == 2 and len(set(hashes)) == 2


def test_while_the_registry_is_away_known_versions_work(store_uri, make_model, monkeypatch, caplog) -> None:
    """A cached version is used, with a warning; an alias is not, but the error names the version that would work."""
    version = register(make_model())
    folder = resolve(f"models:/bfs/{version}")
    connect().set_registered_model_alias("bfs", "champion", version)

    def away(*_: object) -> None:
        raise Unreachable("registry", store_uri, "cannot be reached", "check it")

    monkeypatch.setattr(Registry, "find", away)
    assert resolve(f"models:/bfs/{version}") == folder
    assert "using the cached copy" in caplog.text
    with pytest.raises(Unreachable, match=f"models:/bfs/{version}"):
        resolve("models:/bfs@champion")
    with pytest.raises(Unreachable, match="cannot be reached"):
        resolve("models:/bfs/99")
    shutil.rmtree(folder)
    with pytest.raises(Unreachable):
        resolve(f"models:/bfs/{version}")


def test_a_server_that_is_not_there_is_one_line(monkeypatch, tmp_path) -> None:
    """The real client against a closed port."""
    monkeypatch.setenv("BFS_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unreachable, match="registry=http://127.0.0.1:9 cannot be reached"):
        resolve("models:/bfs/1")


def test_whoever_downloads_second_keeps_the_first(store_uri, make_model, monkeypatch) -> None:
    """Two processes that fetch the same version at once end with one whole copy and no remains."""
    version = register(make_model())
    publish = resolve_module._publish

    def with_a_rival(staging: Path, final: Path, content_hash: str) -> None:
        shutil.copytree(staging, final)
        publish(staging, final, content_hash)

    monkeypatch.setattr(resolve_module, "_publish", with_a_rival)
    folder = resolve(f"models:/bfs/{version}")
    assert integrity.verify(folder, "model")
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("models:/bfs/7", Reference("bfs", "7")), ("models:/prod.bfs-2@champion", Reference("prod.bfs-2", alias="champion"))],
)
def test_references_round_trip(text, expected) -> None:
    """A reference reads as it is written."""
    assert Reference.parse(text) == expected and str(expected) == text
