"""Judges made bad on purpose, each caught by the figure that is about its fault."""

import pytest

from tests.support.judged_pairs import always_a, always_longer, at_random, audited, good, inverted, pair, pairs, worries

N = 200


async def test_a_good_judge_gives_no_reason_to_worry() -> None:
    found = await audited(good(0.98), pairs(N))
    assert worries(found) == set()
    assert (found["agreement"]["value"], found["agreement"]["n"], found["ties"]["value"]) == (1.0, N, 0.0)
    assert found["agreement"]["low"] == pytest.approx(0.9812, abs=1e-4)  # n / (n + z²)
    assert (found["position"]["flips"]["value"], found["position"]["p"]) == (0.0, 1.0)
    assert found["position"]["pull"]["value"] == pytest.approx(0.0, abs=1e-12)


async def test_a_judge_that_always_says_a_is_caught_by_its_flips() -> None:
    found = await audited(always_a, pairs(N))
    assert worries(found) == {"agreement", "position", "ties"}
    place = found["position"]
    assert (place["flips"]["value"], place["a_twice"]["value"], place["a_twice"]["n"]) == (1.0, 1.0, N)
    assert place["p"] == pytest.approx(2 * 0.5**N)
    assert place["pull"]["value"] == pytest.approx(0.94)
    assert found["ties"]["value"] == 1.0  # both orders together say nothing, so nothing wrong is learnt
    assert found["agreement"] == {"value": None, "low": 0.0, "high": 1.0, "n": 0}
    assert found["one_order"]["agreement"]["value"] == pytest.approx(0.5, abs=0.1)


async def test_a_judge_that_always_says_b_is_told_from_one_that_says_a() -> None:
    found = await audited(lambda a, b: 0.1, pairs(N))
    assert found["position"]["a_twice"]["value"] == 0.0
    assert found["position"]["pull"]["value"] == pytest.approx(-0.8)
    assert "position" in worries(found)


async def test_a_judge_of_length_is_caught_by_the_pairs_whose_better_answer_is_shorter() -> None:
    found = await audited(always_longer, pairs(N))
    assert worries(found) == {"agreement", "chance", "length", "calibration"}
    size = found["length"]
    assert (size["better_is_longer"]["value"], size["better_is_shorter"]["value"], size["gap"]) == (1.0, 0.0, 1.0)
    assert size["prefers_longer"]["value"] == 1.0
    assert size["p"] < 1e-50
    assert size["correlation"]["value"] > 0.8
    assert found["position"]["flips"]["value"] == 0.0


async def test_where_the_better_answer_is_always_longer_a_judge_of_length_cannot_be_told() -> None:
    found = await audited(always_longer, [pair(2 * i) for i in range(N)])
    assert found["agreement"]["value"] == 1.0
    assert (found["length"]["gap"], found["length"]["better_is_shorter"]["n"]) == (None, 0)


async def test_a_random_judge_is_caught_by_its_agreement() -> None:
    found = await audited(at_random, pairs(N))
    assert worries(found) == {"agreement", "chance", "calibration"}
    assert found["agreement"]["low"] < 0.5 < found["agreement"]["high"]
    assert found["calibration"]["whole"]["ece"] == pytest.approx(0.3, abs=0.1)  # 80 % sure, half right


async def test_an_inverted_judge_is_told_from_a_random_one() -> None:
    found = await audited(inverted, pairs(N))
    assert worries(found) == {"agreement", "inverted", "calibration"}
    assert (found["agreement"]["value"], found["agreement"]["high"] < 0.02) == (0.0, True)
    assert found["calibration"]["whole"]["ece"] == pytest.approx(0.9)


@pytest.mark.parametrize(("share", "worried"), [(0.0, set()), (1.0, {"self_preference"})], ids=["fair", "vain"])
async def test_a_judge_that_favours_itself_is_caught_by_the_pairs_it_wrote_half_of(
    share: float, worried: set[str]
) -> None:
    models = (("mine", "other"), ("other", "mine"))
    asked = [pair(i, models=models[i // 4 % 2]) for i in range(N)]
    mine = {p.better if p.models[0] == "mine" else p.worse for p in asked}

    def vain(a, b):
        return 0.9 if a in mine else 0.1

    found = await audited(vain if share else good(), asked, own_names={"mine"})
    assert "self_preference" in found and worries(found) & {"self_preference"} == worried
    own = found["self_preference"]
    assert own["better_is_own"]["n"] == own["worse_is_own"]["n"] == N // 2
    assert (own["gap"], own["prefers_own"]["value"]) == ((1.0, 1.0) if share else (0.0, 0.5))


async def test_self_preference_needs_to_know_who_wrote_what() -> None:
    asked = [*pairs(10), *pairs(10, models=("mine", "mine")), *pairs(10, models=("x", None))]
    found = await audited(good(), [pair(i, models=p.models) for i, p in enumerate(asked)], own_names={"mine"})
    assert found["self_preference"] is None


async def test_a_judge_that_is_unsure_of_everything_is_reported_as_such() -> None:
    found = await audited(good(0.6), pairs(N))
    assert worries(found) == {"calibration"}
    assert found["calibration"]["before"]["ece"] == pytest.approx(0.4)
    assert found["calibration"]["isotonic"]["ece"] == pytest.approx(0.0, abs=1e-3)
