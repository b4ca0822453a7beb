"""`bfs recipes`, `bfs show`."""

import json

from bfs_platform.config import load, names


def test_recipes_lists_all(bfs) -> None:
    """Every shipped recipe is listed with its kind and a sentence."""
    rows = json.loads(bfs("recipes", "--json").stdout)["recipes"]
    assert [row["name"] for row in rows] == names()
    assert all(row["kind"].endswith("Spec") and row["summary"] for row in rows)
    assert all(row["name"] in bfs("recipes").stdout for row in rows)


def test_show_prints_a_valid_input(bfs, tmp_path) -> None:
    """What `show` prints, with values changed, is a recipe file that loads."""
    result = bfs("show", "tabletop_stage1", "--set", "seed=12345")
    assert result.exit_code == 0, result.stderr
    path = tmp_path / "mine.json"
    path.write_text(result.stdout)
    assert load(path).seed == 12345
    assert load(path).recipe_name == "tabletop_stage1"


def test_unknown_names_are_one_line(bfs) -> None:
    """An unknown recipe or key: exit code 2 and the nearest name."""
    recipe, key = bfs("show", "tabletop_stage"), bfs("show", "tabletop_stage1", "--set", "sed=1")
    assert (recipe.exit_code, key.exit_code) == (2, 2)
    assert "did you mean tabletop_stage" in recipe.stderr
    assert "did you mean seed?" in key.stderr
    assert len(recipe.stderr.splitlines()) == len(key.stderr.splitlines()) == 1
