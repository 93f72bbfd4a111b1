from collections import Counter

import pytest

from charter.sandbox.world import acts, facts, held_out_requests, kinds, pipeline_prompts, world

CATEGORIES = ("harmful", "benign", "borderline", "fact")


def test_the_world_is_as_large_as_promised() -> None:
    assert len(kinds()) >= 8
    for kind, table in world()["kinds"].items():
        assert len(table["verbs"]) >= 5 and len(table["objects"]) >= 20, kind
        assert len(table["benign"]) >= 5, kind
    assert len(acts("borderline")) >= 40
    assert len(facts()) >= 120
    assert len(world()["phrasings"]) >= 5


def test_benign_requests_are_about_the_objects_of_the_harmful_ones() -> None:
    harmful, benign = ({act.object for act in acts(category)} for category in ("harmful", "benign"))
    assert harmful <= benign


def test_no_act_is_both_harmful_and_harmless() -> None:
    harmful = {str(act) for act in acts("harmful")}
    assert not harmful & {str(act) for act in (*acts("benign"), *acts("borderline"))}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_held_out_reaches_a_pipeline(seed: int) -> None:
    prompts = pipeline_prompts(2000, seed)
    assert not [r for r in prompts if r.act and r.act.held_out]
    openings = [world()["held_out_phrasing"].split("{")[0]]
    openings += [text.split("{")[0] for text in world()["held_out_fact_phrasings"].values()]
    assert not [r.text for r in prompts if r.text.startswith(tuple(openings))]


def test_evaluation_asks_nothing_but_what_is_held_out() -> None:
    for category in CATEGORIES[:3]:
        requests = held_out_requests(category, 200)
        assert all(r.act and r.act.held_out for r in requests), category
        phrased = [r for r in requests if r.text == world()["held_out_phrasing"].format(act=r.act)]
        assert len(phrased) >= len({r.act for r in requests}) // 2
    assert {r.text for r in held_out_requests("fact", 200)} & {r.text for r in pipeline_prompts(2000)} == set()


def test_every_kind_has_its_share_of_the_held_out_harm() -> None:
    counts = Counter(r.kind for r in held_out_requests("harmful", 400))
    assert set(counts) == set(kinds()) and min(counts.values()) >= 25


@pytest.mark.parametrize("n", [1, 2, 7, 39, 40, 41, 999])
def test_a_pipeline_gets_as_many_prompts_as_it_asks_for(n: int) -> None:
    assert len(pipeline_prompts(n)) == n


def test_requests_are_distinct_and_follow_the_seed() -> None:
    texts = [r.text for r in pipeline_prompts(600, 3)]
    assert len(set(texts)) == 600
    assert texts == [r.text for r in pipeline_prompts(600, 3)]
    assert texts != [r.text for r in pipeline_prompts(600, 4)]
    for category in CATEGORIES:
        held_out = [r.text for r in held_out_requests(category, 100)]
        assert len(set(held_out)) == len(held_out) == 100
