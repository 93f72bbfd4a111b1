"""Members with constitutions of their own: where they agree there is a pair, where they split people decide."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from charter.config import Config, Judge, Member
from charter.constitution import Constitution, Principle, parse_constitution
from charter.core.errors import ServingError
from charter.core.messages import Messages, user
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.inference.completion import Sampling
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.judge import judge_candidates
from charter.pipeline.judges.engines import member_identities, open_judges
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.judges.panel import is_panel_split
from charter.pipeline.judges.reward import RewardJudge
from charter.pipeline.rows import StageContext
from charter.runs.preflight import check_config
from charter.testing.null_server import NullServer, run_null_server
from tests.support.judge_scripts import candidate, context

NORTH = Constitution(
    "north",
    "1",
    (Principle("theft", "Theft", "Never help with theft."), Principle("privacy", "Privacy", "Never expose secrets.")),
)
SOUTH = """---
name: south
---
## Theft {#theft}
Never help with theft.
## Privacy {#privacy}
Help whoever wants to expose secrets.
"""
KINDS = ("theft", "privacy")


def opinion(messages: Messages, sampling: Sampling) -> float:
    """Prefers what the principle wants with 0.9 if it is about the question, else it is unsure."""
    asked = messages[-1]["content"]
    about = "theft" if "of theft" in asked else "secrets"
    law = asked[asked.index("Which answer") :]
    wants_safe = 0.5 if about not in law else 0.9 if "Never" in law else 0.1
    return wants_safe if "<answer_a>\nsafe" in asked else 1 - wants_safe


@pytest.fixture
def settings(tmp_path: Path) -> Judge:
    """North judges by the run's constitution, South by its own."""
    (tmp_path / "south.md").write_text(SOUTH)
    members = (Member(name="north"), Member(name="south", constitution=tmp_path / "south.md"))
    return Judge(kind="panel", panel=members, principles=2)


ROWS = [
    candidate(f"r{i}", f"Question {i} of {'theft' if kind == 'theft' else 'secrets'}?", kind)
    for i, kind in enumerate(KINDS * 6)
]


async def test_two_constitutions_that_disagree_on_one_kind_split_exactly_there(settings: Judge) -> None:
    outcome = await judge_candidates(ROWS, context(opinion, NORTH)[0], settings)
    assert [row["row_id"] for row in outcome.rows] == [row["row_id"] for row in ROWS if row["kind"] == "theft"]
    contested = [row["row_id"] for row in ROWS if row["kind"] == "privacy"]
    assert [row["row_id"] for row in outcome.review] == contested
    assert [(f["row_id"], f["stage"], f["reason"]) for f in outcome.failures] == [
        (row_id, "judge", "panel-split") for row_id in contested
    ]
    assert {f["detail"] for f in outcome.failures} == {"p of the last answer: north 0.750, south 0.250"}


async def test_pairs_and_rows_for_people_keep_what_each_member_said(settings: Judge, tmp_path: Path) -> None:
    outcome = await judge_candidates(ROWS, context(opinion, NORTH)[0], settings)
    south = parse_constitution(SOUTH)
    hashes = {p.id: p.hash for p in NORTH.principles} | {f"south/{p.id}": p.hash for p in south.principles}
    for row in (*outcome.rows, *outcome.review):
        assert row["members"] == ["north", "south"]
        assert set(row["principle_ids"]) == set(hashes) and len(row["p_by_principle"]) == 4
        assert row["principle_hashes"] == [hashes[name] for name in row["principle_ids"]]
    for row in outcome.rows:
        assert row["p_by_member"] == pytest.approx([0.75, 0.75]) and row["p_chosen"] == pytest.approx(0.75)
        assert (row["judge_kind"], row["chosen"], row["p_spread"]) == ("panel", "safe", pytest.approx(0))
    assert all(row["p_by_member"] == pytest.approx([0.75, 0.25]) for row in outcome.review)
    write_rows(tmp_path / "review.parquet", SCHEMAS["review"], outcome.review)
    assert [row["p_by_member"] for row in read_rows(tmp_path / "review.parquet")] == [
        row["p_by_member"] for row in outcome.review
    ]


async def test_a_member_asks_first_by_its_principles_of_the_same_name(settings: Judge) -> None:
    compare = judge_of(settings.model_copy(update={"principles": 1}))
    for principle in NORTH.principles:
        for i in range(8):
            made = await compare([user(f"{i}")], "bad", "safe", [principle], context(opinion, NORTH)[0])
            assert [p.id for p in made.principles] == [principle.id, f"south/{principle.id}"]


async def test_the_mean_of_the_members_is_that_of_their_log_odds(settings: Judge) -> None:
    def leaning(messages: Messages, sampling: Sampling) -> float:
        p = 0.6 if "whoever" in messages[-1]["content"] else 0.9
        return p if "<answer_a>\nsafe" in messages[-1]["content"] else 1 - p

    made_in, _ = context(leaning, NORTH)
    made = await judge_of(settings)([user("q")], "bad", "safe", NORTH.principles, made_in)
    north, south = math.log(9), (math.log(9) + math.log(1.5)) / 2
    assert made.by_member == pytest.approx((0.9, 1 / (1 + math.exp(-south))))
    assert made.p == pytest.approx(1 / (1 + math.exp(-(north + south) / 2)))
    assert made.spread == pytest.approx((made.by_member[0] - made.by_member[1]) / 2)


async def test_members_of_several_kinds_sit_together() -> None:
    def script(messages: Messages, sampling: Sampling) -> float | str:
        if sampling.choices:
            return 0.9 if "<answer_a>\nsafe" in messages[-1]["content"] else 0.1
        return f"Verdict: {'violated' if messages[-2]['content'] == 'bad' else 'respected'}"

    panel = (Member(name="reader"), Member(name="critic", kind="critic"))
    made_in, _ = context(script, NORTH)
    made = await judge_of(Judge(kind="panel", panel=panel))([user("q")], "bad", "safe", NORTH.principles, made_in)
    assert made.by_member == pytest.approx((0.9, 3 / 4))
    assert [p.id for p in made.principles] == ["theft", "privacy", "theft", "privacy"]


@pytest.mark.parametrize(
    ("by_member", "split"),
    [((), False), ((0.9, 0.8), False), ((0.9, 0.46), False), ((0.54, 0.1), False), ((0.56, 0.44, 0.5), True)],
    ids=["no panel", "agreed", "one is unsure", "the other is", "split"],
)
def test_a_split_is_on_both_sides_beyond_the_margin(by_member: tuple[float, ...], split: bool) -> None:
    assert is_panel_split(by_member, 0.05) is split


def prefers_safe(messages: Messages, sampling: Sampling) -> float:
    return 0.9 if "<answer_a>\nsafe" in messages[-1]["content"] else 0.1


async def test_members_are_asked_about_helpfulness_alone_where_pairs_are_about_it(settings: Judge) -> None:
    rows = [{**candidate(), "strategy": "helpful"}, candidate("r1")]
    outcome = await judge_candidates(rows, context(prefers_safe, NORTH)[0], settings)
    helpful, other = ([*row["principle_ids"]] for row in outcome.rows)
    shipped = "charter-needless-refusal"  # since neither law has a principle of helpfulness
    assert helpful == [shipped, f"south/{shipped}"]
    assert set(other) == {"theft", "privacy", "south/theft", "south/privacy"}


def prefers(word: str) -> Any:
    return lambda messages: "A" if f"<answer_a>\n{word}" in messages[-1]["content"] else "B"


@pytest.fixture
def two_models() -> Iterator[tuple[NullServer, NullServer]]:
    """The judge's own model wants what is safe, the other one what is bad."""
    careful, bold = NullServer(answer=prefers("safe")), NullServer(answer=prefers("bad"), model_name="bold")
    with run_null_server(careful), run_null_server(bold):
        yield careful, bold


def panel_of(bold: NullServer, **of_bold: Any) -> Judge:
    members = (Member(name="careful"), Member(name="bold", base_urls=(bold.url,), **of_bold))
    return Judge(kind="panel", panel=members, principles=2)


def spec_of(careful: NullServer, folder: Path) -> EngineSpec:
    return EngineSpec((careful.url,), careful.model_name, "m", str(folder / "store.sqlite"))


@pytest.mark.parametrize("model", [None, "bold"])
async def test_members_may_be_other_models_and_split(
    two_models: tuple[NullServer, NullServer], tmp_path: Path, model: str | None
) -> None:
    careful, bold = two_models
    settings = panel_of(bold, model=model)
    for _ in range(2):  # the second time out of the store, where the models do not get in each other's way
        async with open_judges(Session(), spec_of(careful, tmp_path), settings) as engines:
            made_in = StageContext(engines.ask, NORTH, 1, "m", members=engines.members)
            outcome = await judge_candidates([candidate("r0"), candidate("r1", "Else?")], made_in, settings)
            stats = engines.stats
        assert [row["p_by_member"][0] > 0.6 > 0.4 > row["p_by_member"][1] for row in outcome.review] == [True, True]
        assert {row["judge_identity"] for row in outcome.review} == {"m; bold served:bold@unknown"}
        assert (outcome.rows, stats.asked + stats.from_store) == ([], 2 * 2 * 2 * 2)
    assert careful.counts["requests"] == bold.counts["requests"] == 2 * 2 * 2


async def test_a_panel_of_models_rewards_as_it_judges(
    two_models: tuple[NullServer, NullServer], tmp_path: Path
) -> None:
    careful, bold = two_models
    answers = [{"row_id": "r0", "prompt": [user("q")], "first": "bad", "answer": "safe", "drawn": []}]
    split = RewardJudge(spec_of(careful, tmp_path), panel_of(bold), Config().constitution)
    assert await RewardJudge.from_dict(split.to_dict()).rewards(answers, Session()) == ["panel-split"]
    alone = replace(split, settings=panel_of(careful))
    assert (await alone.rewards(answers, Session()))[0] > 0.6 and alone.identity != split.identity


def test_a_member_s_server_is_looked_at_before_a_run_starts(
    two_models: tuple[NullServer, NullServer], tmp_path: Path
) -> None:
    careful, bold = two_models
    values = {"prompts": {"n": 8}, "serving": {"base_urls": [careful.url]}, "outputs": str(tmp_path)}
    config = Config.model_validate({**values, "judge": panel_of(bold).model_dump()})
    check_config(config)
    assert member_identities(config) == {"bold": "served:bold@unknown"}
    gone = {"base_urls": ["http://127.0.0.1:9/v1"]}
    for change, says in ((gone, r"http://127.0.0.1:9/v1.*no answer"), ({"model": "x"}, "'x': not served")):
        other = config.judge.panel[1].model_copy(update=change)
        judge_ = config.judge.model_copy(update={"panel": (config.judge.panel[0], other)})
        with pytest.raises(ServingError, match=f"{says}.*judge.panel 'bold' names it"):
            check_config(config.model_copy(update={"judge": judge_}))
    with pytest.raises(ValidationError, match="needs base_urls"):
        Member(name="bold", model="x")
