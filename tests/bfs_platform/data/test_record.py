"""Rows travel as JSON; seeds depend on names alone."""

from bfs_platform.data.record import ListDigest, Part, Row, digest_of, seed_of


def test_row_survives_json() -> None:
    """Every field comes back, and unset ones are not written."""
    row = Row(
        "a/7",
        "a cup",
        {"composite": Part("s/7.png", sha256="ab"), "object_mask": Part("x.tar", container="tar", offset=512, size=90)},
        score=0.25,
        box=(1, 2, 3, 4),
    )
    assert Row.from_json(row.to_json()) == row
    bare = Row("b", parts={"composite": Part("s/b.png")})
    assert bare.to_json() == {"id": "b", "parts": {"composite": {"path": "s/b.png"}}}
    assert Row.from_json(bare.to_json()) == bare
    worst = Row("c", score=0.0)
    assert Row.from_json(worst.to_json()) == worst, "a score of 0 is a score"


def test_seed_depends_on_each_part_of_its_key() -> None:
    """Equal keys give equal seeds; ("a", "bc") is not ("ab", "c")."""
    assert seed_of(7, "shadow", "x") == seed_of(7, "shadow", "x")
    assert len({seed_of(7, "shadow", "x"), seed_of(8, "shadow", "x"), seed_of(7, "shado", "wx"), seed_of(7, "shadow", "y")}) == 4
    assert 0 <= seed_of("z") < 2**63


def test_a_long_list_is_digested_piece_by_piece() -> None:
    """To what the whole list would give, so that sets built before keep their identity; asking for it on the way changes nothing."""
    whole = ["ä", {"b": 1, "a": [2, None]}, "x", 3]
    digest = ListDigest()
    assert digest.hexdigest() == digest_of([])
    digest.add(whole[:1])
    assert digest.hexdigest() == digest_of(whole[:1])
    digest.add(iter(whole[1:]))
    assert digest.hexdigest() == digest_of(whole) and digest.length == 4
