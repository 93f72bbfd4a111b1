from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.config import Selection
from charter.constitution import Constitution, Principle, select
from charter.core.errors import ConfigError


def constitution(n: int = 8, **weights: float) -> Constitution:
    principles = [Principle(f"p{i}", f"P {i}", f"text {i}", ("even" if i % 2 == 0 else "odd",)) for i in range(n)]
    return Constitution("c", "1", tuple(replace(p, weight=weights.get(p.id, 1.0)) for p in principles), path=Path("c"))


def ids(found: tuple[Principle, ...]) -> list[str]:
    return [p.id for p in found]


ROWS = [f"row{i}" for i in range(3000)]


@given(st.text(), st.integers(0, 5), st.integers(0, 2**40), st.integers(1, 12))
def test_a_draw_is_without_replacement(row_id: str, round: int, seed: int, k: int) -> None:
    found = ids(select(constitution(), row_id, round, seed, k))
    assert len(found) == len(set(found)) == min(k, 8)


def test_a_draw_is_pinned_across_machines_and_versions() -> None:
    assert [ids(select(constitution(), "row", r, 0, 2)) for r in range(3)] == [["p5", "p4"], ["p7", "p1"], ["p2", "p0"]]


def test_rounds_do_not_meet_a_principle_twice_until_all_were_had() -> None:
    for row in ROWS[:50]:
        assert {i for r in range(8) for i in ids(select(constitution(), row, r, 0))} == {f"p{i}" for i in range(8)}
        assert select(constitution(), row, 8, 0) == select(constitution(), row, 0, 0)


def test_with_replacement_rounds_are_drawn_apart() -> None:
    apart = Selection(replacement=True)
    same = sum(select(constitution(), r, 0, 0, 1, apart) == select(constitution(), r, 1, 0, 1, apart) for r in ROWS)
    assert 0.10 < same / len(ROWS) < 0.15  # one in eight


@pytest.mark.parametrize("k", [1, 3])
def test_weights_are_shares_of_first_draws(k: int) -> None:
    drawn = Counter(ids(select(constitution(p3=3.0), row, 0, 7, k))[0] for row in ROWS)
    assert drawn["p3"] / len(ROWS) == pytest.approx(0.3, abs=0.03)
    assert drawn["p1"] / len(ROWS) == pytest.approx(0.1, abs=0.02)


def test_seeds_and_rows_draw_apart() -> None:
    assert sum(select(constitution(), r, 0, 0) == select(constitution(), r, 0, 1) for r in ROWS) < 0.2 * len(ROWS)


def test_rewording_and_reordering_move_nobody() -> None:
    old = constitution()
    edited = replace(old.principles[2], text="other words", title="Other", critique_request="?")
    new = replace(old, name="d", version="2", principles=(*old.principles[3:], edited, *old.principles[:2]))
    for row in ROWS[:300]:
        assert ids(select(old, row, 1, 5, 3)) == ids(select(new, row, 1, 5, 3))


def test_removing_a_principle_moves_only_the_rows_that_drew_it() -> None:
    old, new = constitution(), replace(constitution(), principles=constitution().principles[1:])
    for row in ROWS:
        before, after = ids(select(old, row, 0, 0)), ids(select(new, row, 0, 0))
        assert before == after or before == ["p0"]


def test_tags_all_and_one_per_tag() -> None:
    c = constitution()
    assert ids(select(c, "r", 0, 0, 9, Selection(tags=("odd",)))) != []
    assert set(ids(select(c, "r", 0, 0, 9, Selection(tags=("odd",))))) == {"p1", "p3", "p5", "p7"}
    assert ids(select(c, "r", 3, 0, 1, Selection(how="all"))) == [f"p{i}" for i in range(8)]
    first, second = select(c, "r", 0, 0, 1, Selection(how="one-per-tag"))
    assert (first.tags, second.tags) == (("even",), ("odd",))
    later = select(c, "r", 1, 0, 1, Selection(how="one-per-tag"))
    assert not {first.id, second.id} & set(ids(later))
    with pytest.raises(ConfigError, match="Its tags are: even, odd"):
        select(c, "r", 0, 0, 1, Selection(tags=("sour",)))
