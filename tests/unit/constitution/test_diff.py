import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter.config import Config, Generation, Judge
from charter.constitution import Constitution, Principle, load_constitution, parse_constitution, select
from charter.constitution.diff import Piece, diff, diff_words, load_at
from charter.constitution.write import write_constitution
from charter.core.errors import ConstitutionError, DataError
from charter.data.schema import REVISIONS
from charter.data.shards import write_rows
from charter.views.edit_cost import EditCost, count_edit_cost, edit_cost_of_run

OLD = parse_constitution(
    "---\nname: constitution\nversion: 1\n---\n## A\none two three\n## B\nfour\n## C\nfive\n## D\nsix\n## E\nseven\n"
)
NEW = parse_constitution(
    "---\nname: constitution\nversion: 2\n---\nNew preface.\n"
    "## Bee {#b weight=2}\nfour\n## A\none 2 three\n## Sea {#c .x}\nfive\n## Dee {#dee}\nsix\n## F\neight\n"
)


def test_each_kind_of_change_is_found() -> None:
    found = diff(OLD, NEW)
    assert {(c.id, c.change, c.recomputes) for c in found.principles} == {
        ("dee", "renamed", True),
        ("e", "removed", True),
        ("f", "added", True),
        ("b", "reweighted", True),
        ("a", "reworded", True),
        ("c", "retagged", False),
    }
    assert [f.field for f in found.shared] == ["preface"]
    assert found.reordered
    assert not found.same
    reworded = next(c for c in found.principles if c.id == "a")
    assert reworded.fields[0].pieces == (
        Piece("same", "one "),
        Piece("removed", "two "),
        Piece("added", "2 "),
        Piece("same", "three"),
    )


def test_order_and_titles_change_nothing() -> None:
    other = replace(OLD, principles=tuple(replace(p, title="T" + p.title) for p in reversed(OLD.principles)))
    found = diff(OLD, other)
    assert found.same
    assert found.reordered
    assert {c.change for c in found.principles} == {"retitled"}


@pytest.mark.parametrize(("a", "b"), [("", "x y"), ("x y", ""), ("a b c", "a c"), ("a\n\nb", "a b")])
def test_the_pieces_make_up_both_texts(a: str, b: str) -> None:
    pieces = diff_words(a, b)
    assert "".join(p.words for p in pieces if p.change != "added") == a
    assert "".join(p.words for p in pieces if p.change == "added").split() != [] or not set(b.split()) - set(a.split())


def git(folder: Path, *arguments: str) -> None:
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *author, *arguments], check=True, capture_output=True, timeout=60)


def test_git_revisions_are_read_with_what_they_extend(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "base.md").write_text("## A\nold base\n")
    (tmp_path / "constitution.md").write_text("---\nextends: base.md\n---\n## B\nold\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    (tmp_path / "base.md").write_text("## A\nnew base\n")
    old, new = load_at(f"HEAD:{tmp_path}/constitution.md"), load_at(f"{tmp_path}/constitution.md")
    assert [p.text for p in old.principles] == ["old base", "old"]
    assert [p.text for p in new.principles] == ["new base", "old"]
    with pytest.raises(ConstitutionError, match="git cannot read it"):
        load_at(f"nowhere:{tmp_path}/constitution.md")
    with pytest.raises(ConstitutionError, match="cannot be read"):
        load_at(f"{tmp_path}/none.md")


def revisions(constitution: Constitution, rows: int, rounds: int, seed: int) -> list[dict[str, Any]]:
    found = []
    for number in range(rows):
        for round in range(rounds):
            (drawn,) = select(constitution, f"r{number}", round, seed)
            text = dict.fromkeys(("critique", "model_identity"), "")
            texts = [f"answer {number} {made if number % 2 == 0 else 0}" for made in (round, round + 1)]
            text |= zip(("response", "revision"), texts, strict=True)
            lineage = {
                "constitution_name": constitution.name,
                "constitution_version": "1",
                "constitution_hash": constitution.hash,
            }
            flags = {"flagged": number % 2 == 0, "changed": number % 2 == 0}
            flags |= dict.fromkeys(("preamble", "p_violated", "finish_reason"))
            chosen = {"principle_id": drawn.id, "principle_hash": drawn.hash}
            found.append({"row_id": f"r{number}", "round": round, "seed": 0} | chosen | lineage | text | flags)
    return found


def constitution(n: int = 8) -> Constitution:
    return Constitution("constitution", "1", tuple(Principle(f"p{i}", f"P{i}", f"text {i}") for i in range(n)))


def run_with(judging: int, rounds: int = 2) -> Config:
    return Config(seed=7, generation=Generation(rounds=rounds), judge=Judge(principles=judging))


async def test_an_edit_costs_the_rows_that_drew_the_principle() -> None:
    rows = revisions(constitution(), 600, 2, 7)
    edited = replace(
        constitution(), principles=(replace(constitution().principles[0], text="other"), *constitution().principles[1:])
    )
    cost = await count_edit_cost(constitution(), edited, rows, run_with(judging=1))
    drew = {r["row_id"] for r in rows if r["principle_id"] == "p0"}
    first = {r["row_id"] for r in rows if r["principle_id"] == "p0" and r["round"] == 0}
    assert cost.rows == 600
    assert drew <= {f"r{n}" for n in range(600)}
    assert cost.critiques == 2 * len(first) + len(drew - first)
    assert cost.revisions < cost.critiques
    assert cost.rows_changed == pytest.approx(600 * 2 / 8, rel=0.3)
    assert cost.completions == cost.critiques + cost.revisions + cost.judgements


async def test_comments_order_and_titles_cost_nothing() -> None:
    rows = revisions(constitution(), 100, 2, 7)
    moved = replace(
        constitution(),
        version="2",
        principles=tuple(replace(p, title="x") for p in reversed(constitution().principles)),
    )
    assert await count_edit_cost(constitution(), moved, rows, run_with(judging=3)) == EditCost(100, 0, 0, 0, 0)


async def test_only_the_judging_is_asked_again_where_only_the_judge_sees_the_edit() -> None:
    rows = [r for r in revisions(constitution(), 200, 1, 7) if r["principle_id"] != "p0"]
    edited = replace(
        constitution(), principles=(replace(constitution().principles[0], text="other"), *constitution().principles[1:])
    )
    cost = await count_edit_cost(
        constitution(), edited, rows, run_with(judging=8, rounds=1)
    )  # all eight principles judge
    changed = sum(r["changed"] for r in rows)
    assert (cost.critiques, cost.revisions, cost.judgements) == (0, 0, 2 * changed)


def test_a_run_s_folder_is_counted(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(run_with(judging=1).model_dump(mode="json")))
    (tmp_path / "constitution.md").write_text(write_constitution(constitution()))
    write_rows(tmp_path / "revisions" / "0.parquet", REVISIONS, revisions(constitution(), 50, 2, 7))
    without = replace(constitution(), principles=constitution().principles[1:])
    cost = edit_cost_of_run(tmp_path, without)
    old = load_constitution(tmp_path / "constitution.md")
    assert cost == asyncio.run(count_edit_cost(old, without, revisions(constitution(), 50, 2, 7), run_with(judging=1)))
    assert 0 < cost.rows_changed < 50
    with pytest.raises(DataError, match=r"no config\.yaml"):
        edit_cost_of_run(tmp_path / "nowhere", without)
