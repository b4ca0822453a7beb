"""The questionnaire page and its key."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from bfs_model.errors import BadInput
from bfs_platform.evaluate.samples import list_entries
from bfs_platform.study.build import build_study
from bfs_platform.study.questions import QUESTIONS


def test_a_study_of_two_evaluations(make_evaluation, tmp_path) -> None:
    """Records that all systems drew make up the cases; each has its six questions per system, and pictures inside the page."""
    folders = [make_evaluation("first"), make_evaluation("second", seed=5)]
    key = build_study(folders, tmp_path / "study", seed=1, num_cases=2)
    assert set(key["systems"]) == {"first/model", "second/model"} and len(key["cases"]) == 2 and key["skipped"] == 1
    page = (tmp_path / "study/questionnaire.html").read_text(encoding="utf-8")
    assert page.count("<fieldset>") == 2 * 2 * len(QUESTIONS) and page.count('type="radio"') == 2 * 2 * 6 * 5
    assert page.count("data:image/webp") == 2 * 2 * 3
    assert "a &lt;b&gt;cube&lt;/b&gt; number" in page, "prompts are texts, not markup"


def test_the_page_needs_and_tells_nothing(make_evaluation, tmp_path) -> None:
    """No reference leaves the page, and nothing in it names a system, a model, a record or the seed."""
    build_study([make_evaluation("first"), make_evaluation("second", seed=5)], tmp_path / "study", seed=987654)
    page = (tmp_path / "study/questionnaire.html").read_text(encoding="utf-8")
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert references and all(reference.startswith("data:image/webp;base64,") for reference in references)
    assert not re.search(r"https?:|//cdn|@import|url\(|fetch\(|XMLHttp", page)
    text = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", page)
    for word in ("first", "second", "identity", "truth", "secret", "ab" * 6, "987654", "000", "model"):
        assert word not in re.sub(r"\.(?:first|second)\b", "", text.split("<script>")[0].split("</style>")[1]), word


def test_pictures_are_what_the_key_says(make_evaluation, source, tmp_path) -> None:
    """Behind each letter is the system that the key names: its layer, pixel by pixel, over the record's background."""
    folders = [make_evaluation("first"), make_evaluation("second", seed=5)]
    key = build_study(folders, tmp_path / "study", seed=1)
    page = (tmp_path / "study/questionnaire.html").read_text(encoding="utf-8")
    positions = {entry.row.id: position for position, entry in enumerate(list_entries(source))}
    pictures = iter(re.findall(r'src="data:image/webp;base64,([^"]+)"', page))
    for case in key["cases"].values():
        for system in case["letters"].values():
            composite, layer, background = (np.asarray(Image.open(io.BytesIO(base64.b64decode(next(pictures))))) for _ in range(3))
            folder = tmp_path / system.split("/")[0] / f"pictures/{positions[case['record']]:05d}"
            assert np.array_equal(composite, np.asarray(Image.open(folder / "0-model/composite.png")))
            assert np.array_equal(background, np.asarray(Image.open(folder / "input.png")))
            kept = np.asarray(Image.open(folder / "0-model/layer.png"))
            assert np.array_equal(layer[..., 3], kept[..., 3])
            assert np.array_equal(layer[layer[..., 3] > 0], kept[kept[..., 3] > 0])


def test_the_key_of_another_study_is_not_replaced(make_evaluation, tmp_path) -> None:
    """Answers that are out can only be read by it; the same study may be written again."""
    folder = make_evaluation("first", ("identity", "truth"))
    systems = ("model", "truth")
    build_study([folder], tmp_path / "study", 1, systems=systems)
    before = (tmp_path / "study/key.json").read_bytes()
    with pytest.raises(BadInput, match="holds another study"):
        build_study([folder], tmp_path / "study", 1, num_cases=1, systems=systems)
    assert (tmp_path / "study/key.json").read_bytes() == before
    build_study([folder], tmp_path / "study", 1, systems=systems)


def test_evaluations_of_other_sizes_are_not_mixed(make_evaluation, tmp_path) -> None:
    """Their pictures would tell which is which."""
    folders = [make_evaluation("first"), make_evaluation("second", seed=5, short_side=16)]
    with pytest.raises(BadInput, match="differ in short_side"):
        build_study(folders, tmp_path / "study")


def test_letters_follow_the_seed(make_evaluation, tmp_path) -> None:
    """The same seed gives the same study, byte by byte; letters change between cases and seeds."""
    folders = [make_evaluation("first", ("identity", "truth")), make_evaluation("second", seed=5)]
    keys = [build_study(folders, tmp_path / f"study{i}", seed) for i, seed in enumerate((3, 3, 4, 5, 6, 7))]
    pages = [(tmp_path / f"study{i}/questionnaire.html").read_bytes() for i in range(2)]
    assert pages[0] == pages[1] and keys[0] == keys[1]
    assert len({str([case["letters"] for case in key["cases"].values()]) for key in keys}) > 1


def test_which_systems_take_part(make_evaluation, tmp_path) -> None:
    """Identity and truth only when they are asked for; systems without layers never; unknown names are refused with the known."""
    composites = tmp_path / "composites/composite"
    composites.mkdir(parents=True)
    for index in range(4):
        Image.new("RGB", (24, 24), (index, 0, 0)).save(composites / f"{index:03d}.png")
    folder = make_evaluation("first", ("identity", "truth", f"flat=precomputed:{composites.parent}"))
    assert set(build_study([folder], tmp_path / "a")["systems"]) == {"model"}
    assert set(build_study([folder], tmp_path / "b", systems=["model", "truth"])["systems"]) == {"model", "truth"}
    with pytest.raises(BadInput, match="known are model, identity, truth, flat"):
        build_study([folder], tmp_path / "c", systems=["modle"])
    with pytest.raises(BadInput, match="drew a layer; leave a system out"):
        build_study([folder], tmp_path / "c", systems=["model", "flat"])


def test_what_cannot_be_shown_is_refused(make_evaluation, tmp_path) -> None:
    """An evaluation without kept pictures, a damaged one, and an output folder that holds something else."""
    with pytest.raises(BadInput, match="kept no pictures; evaluate with --set kept_records=20"):
        build_study([make_evaluation("bare", kept_records=0)], tmp_path / "study")
    folder = make_evaluation("first")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="is there and is no study"):
        build_study([folder], tmp_path / "taken")
    (folder / "pictures/00000/0-model/layer.png").write_bytes(b"damaged")
    with pytest.raises(BadInput):
        build_study([folder], tmp_path / "study")
    assert not (tmp_path / "study").exists()
