"""Records without captions: refused with the way out, captioned by BLIP-2, or told by the list of an evaluation before."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from bfs_model.errors import BadInput
from bfs_platform.data.record import Reject
from bfs_platform.data.spec import CaptionSpec
from bfs_platform.evaluate.run import captions
from bfs_platform.evaluate.run.captions import captioned
from bfs_platform.evaluate.run.run import evaluate
from bfs_platform.evaluate.samples import frozen_list, list_entries, read_sample, select
from bfs_platform.evaluate.spec import CaptionModelSpec, EvaluationSpec

FAKE = "bfs_platform.evaluate.system.fakes:load_fake_disc"
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def blip2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of BLIP-2 in its published layout, random weights."""
    place = Path(__file__).parents[2] / "data/model/tiny_models.py"
    loader = spec_from_file_location("tiny_models", place)
    assert loader is not None and loader.loader is not None
    tiny: Any = module_from_spec(loader)
    loader.loader.exec_module(tiny)
    return str(tiny.blip2(tmp_path_factory.mktemp("models") / "blip2"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of the actors in this process."""

    def loop(stage: type, arguments: Any, items: Any, spec: EvaluationSpec, batch_size: int = 1) -> Any:
        work = stage(*arguments)
        for start in range(0, len(items), batch_size):
            rows = items[start : start + batch_size]
            made = work({key: [row[key] for row in rows] for key in rows[0]})
            yield from ({key: made[key][i] for key in made} for i in range(len(rows)))

    monkeypatch.setattr(captions, "spread", loop)


def writing(blip2: str, **more: Any) -> EvaluationSpec:
    return EvaluationSpec(caption=CaptionSpec(kind="blip2", max_tokens=4, **more), models=CaptionModelSpec(blip2=blip2, batch_size=2))


def test_records_without_captions_are_refused(make_source, tmp_path: Path) -> None:
    """Before a model is loaded, with how many there are, the first of them and what to do; a faulty entry is not among them."""
    root = make_source(3)
    meta = json.loads((root / "meta.json").read_text())
    for record in meta[1:]:
        record["caption"] = " "
    (root / "meta.json").write_text(json.dumps([{"source": "source/x.png"}, *meta]))
    rule = "has no caption for 2 of 4 records, first 001: they would be drawn without a prompt"
    with pytest.raises(BadInput, match=rf"{rule}; put captions\.json beside them.* or set caption\.kind=blip2"):
        evaluate("model", {}, root, list_entries(root), tmp_path / "out", EvaluationSpec(loader=FAKE))
    assert not (tmp_path / "out").exists()


def test_a_file_beside_the_records_is_enough(make_source) -> None:
    """`captions.json`, by id."""
    root = make_source(2, meta={"caption": ""})
    (root / "captions.json").write_text('{"000": "a cube", "001": "a second cube"}')
    entries = list_entries(root)
    assert captioned(entries, root, EvaluationSpec()) == (entries, {})
    assert [entry.row.caption for entry in entries] == ["a cube", "a second cube"]


def test_extraction_goes_without_and_says_so(make_source, capsys: pytest.CaptureFixture[str]) -> None:
    """The picture itself shows what is to be taken out."""
    root = make_source(2, meta={"caption": ""})
    assert captioned(list_entries(root), root, EvaluationSpec(task="extraction")) == (list_entries(root), {})
    assert "2 of 2 records have no caption, first 000: they are extracted without" in capsys.readouterr().err


def test_blip2_writes_what_is_missing(make_source, here, blip2: str) -> None:
    """Of those that lack one and of no other, in the order of the list, and the model is named by its content; with `replace` of all."""
    root = make_source(4)
    meta = json.loads((root / "meta.json").read_text())
    meta[1]["caption"] = meta[3]["caption"] = ""
    (root / "meta.json").write_text(json.dumps(meta))
    (root / "source/003.png").write_bytes(b"no picture")
    entries = list_entries(root)
    told, wrote = captioned(entries, root, writing(blip2))
    assert wrote["name"] == "blip2" and len(wrote["content_hash"]) == 64
    assert [told[0], told[2]] == [entries[0], entries[2]] and told[1].row.caption.strip() and told[1].row.problem is None
    assert told[3] == entries[3], "it fails where it is read, with its own reason"
    every, _ = captioned(entries, root, writing(blip2, replace=True))
    assert every[1] == told[1] and every[0].row.caption != entries[0].row.caption
    whole = [entries[0], entries[2]]
    assert captioned(whole, root, writing("nowhere")) == (whole, {}), "nothing is looked for where nothing is missing"


def test_weights_that_are_not_there_are_named(make_source) -> None:
    """By the key of the evaluation's own recipe."""
    root = make_source(1, meta={"caption": ""})
    with pytest.raises(BadInput, match=r"models\.blip2=\./nowhere is not a folder; give a folder with its files: --set models\.blip2"):
        captioned(list_entries(root), root, writing("./nowhere"))


def test_of_what_blip2_says_nothing_the_record_fails(make_source, here, blip2: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than being drawn without a prompt."""
    from bfs_platform.data.model.blip2 import Blip2Captions

    monkeypatch.setattr(Blip2Captions, "_captions", lambda self, records: [" "] * len(records))
    root = make_source(1, meta={"caption": ""})
    (entry,), _ = captioned(list_entries(root), root, writing(blip2))
    with pytest.raises(Reject, match="it brings no caption, and BLIP-2 says nothing of it"):
        read_sample(entry, root, 10**6)


def test_the_list_of_an_evaluation_tells_them_again(make_source, here, blip2: str, tmp_path: Path) -> None:
    """Another model is drawn with the same prompts, and nothing is written anew; a source with captions of its own is another list."""
    root = make_source(3, meta={"caption": ""})
    told, _ = captioned(list_entries(root), root, writing(blip2))
    path = tmp_path / "list.json"
    path.write_text(json.dumps(frozen_list(told)))
    assert select(list_entries(root), path) == told
    assert captioned(select(list_entries(root), path), root, EvaluationSpec()) == (told, {})
    other = make_source(3, folder="other")
    with pytest.raises(BadInput, match="other pictures, prompts or boxes"):
        select(list_entries(other), path)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_on_a_cluster_captions_come_first(ray_cluster, make_source, blip2: str, tmp_path: Path) -> None:
    """A whole evaluation: the captions stand in the list that is frozen and at every record, and who wrote them in the results."""
    root = make_source(3, meta={"caption": ""})
    spec = writing(blip2).model_copy(update={"loader": FAKE, "recogniser": None, "actors": None})
    evaluate("model", {"uri": "model", "kind": "model", "content_hash": "0" * 64}, root, list_entries(root), tmp_path / "out", spec)
    results = json.loads((tmp_path / "out/metrics.json").read_text())
    assert results["num_failed"] == 0 and results["captions"]["name"] == "blip2"
    listed = [entry["caption"] for entry in json.loads((tmp_path / "out/list.json").read_text())["entries"]]
    assert all(caption.strip() for caption in listed) and listed == [sample["caption"] for sample in results["samples"]]
