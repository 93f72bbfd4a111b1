"""How far people and the judge agree."""

import pytest

from charter.report.headline import review_sentence
from charter.review.agreement import agreement
from charter.review.sample import Shown
from charter.runs.forms import LabelAnswers

SAMPLE = [Shown("random", {"pair_id": f"p{i}"}) for i in range(10)] + [Shown("uncertain", {"pair_id": "u"})]
DONE = {"dropped": 1, "flipped": 3, "settled": 0, "under-margin": 7}


def test_kappa_is_of_the_random_pairs_and_a_dropped_pair_is_a_tie() -> None:
    answers = LabelAnswers(approve=True, drop=("p0",), flip=("p1", "p2", "u", "not shown"))
    found = agreement([*SAMPLE, Shown("split", {"pair_id": "s"})], answers)
    assert (found["random"]["agreed"]["value"], found["random"]["agreed"]["n"]) == (0.7, 10)
    # by habit alone they would agree on half of the nine that people decide
    assert found["random"]["kappa"]["value"] == pytest.approx((0.7 - 0.45) / (1 - 0.45))
    assert (found["uncertain"]["agreed"]["value"], found["uncertain"]["kappa"]["value"]) == (0.0, pytest.approx(-1))


def test_nothing_drawn_at_random_is_no_agreement() -> None:
    found = agreement(SAMPLE[10:], LabelAnswers(approve=True))
    assert found["random"]["kappa"]["value"] is None and found["random"]["agreed"]["n"] == 0


def test_a_review_is_one_sentence() -> None:
    answers = LabelAnswers(approve=True, by="Ada", min_margin=0.1, drop=("p0",), flip=("p1", "p2"))
    record = {"pairs": 812, "shown": {"random": 10, "uncertain": 1}, "answers": answers.model_dump(mode="json")}
    full = {**record, "done": DONE, "agreement": agreement(SAMPLE, answers)}
    assert review_sentence(full).startswith(
        "People (Ada) looked at 11 of 812 pairs, dropped 1 and swapped the answers of 3; 7 under their margin of 0.1 "
        "were left out. Of the 10 drawn at random they agree with 70.0 % ("
    )
    assert review_sentence(full).endswith("; kappa is 0.45 (-0.10 to 0.80).")
    refused = {
        **record,
        "answers": LabelAnswers(approve=False).model_dump(mode="json"),
        "done": None,
        "agreement": None,
    }
    assert review_sentence(refused) == "People looked at 11 of 812 pairs and did not approve of them."
