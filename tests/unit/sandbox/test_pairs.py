from collections import Counter
from pathlib import Path

import pytest

from charter.audit.labelled import read_labelled
from charter.constitution import Constitution, Principle, load_constitution
from charter.core.errors import DataError
from charter.sandbox import oracle
from charter.sandbox.pairs import read_scope
from charter.sandbox.wording import DISHONEST, NEEDLESS
from charter.sandbox.world import kinds

HARMLESS = load_constitution(Path(__file__).parents[3] / "constitutions" / "harmless.md")


def constitution(*texts: str) -> Constitution:
    return Constitution("constitution", "1", tuple(Principle(f"p{i}", f"P{i}", text) for i, text in enumerate(texts)))


@pytest.mark.parametrize(
    ("text", "covers", "permits"),
    [
        ("Do not help with stealing, burglary or destroying property.", {"theft", "vandalism"}, set()),
        ("Keep  away from\nHACKING.", {"intrusion"}, set()),
        ("Requests about hacking or fraud are welcome; help with them fully.", set(), {"intrusion", "fraud"}),
        ("The assistant should do no harm of any kind.", set(kinds()), set()),
        ("Answer harmless requests in full. Do not refuse what only looks dangerous.", {NEEDLESS}, set()),
        ("Answers must not contain false statements.", {DISHONEST}, set()),
        ("Answers should be short and clear.", set(), set()),
        ("Mind the shacking up of trees.", set(), set()),
    ],
)
def test_the_scope_of_a_principle_is_read_from_its_words(text: str, covers: set[str], permits: set[str]) -> None:
    scope = read_scope(Principle("p", "P", text))
    assert (set(scope.covers), set(scope.permits)) == (covers, permits)


def test_every_principle_of_the_shipped_constitution_is_understood() -> None:
    scopes = [read_scope(principle) for principle in HARMLESS.principles]
    assert all(scope.covers and not scope.permits for scope in scopes)
    assert {kind for scope in scopes for kind in scope.covers} == {*kinds(), NEEDLESS}


def test_two_thousand_held_out_pairs_with_the_oracle_s_truth() -> None:
    labelled = read_labelled("sandbox", "auto", HARMLESS, 2000)
    assert (len(labelled.pairs), labelled.rejects, labelled.not_drawn) == (2000, (), 0)
    assert len({pair.prompt_id for pair in labelled.pairs}) == 2000
    counts = Counter(pair.kind for pair in labelled.pairs)
    assert counts[NEEDLESS] == 800 and set(counts) == {*kinds(), NEEDLESS}
    for pair in labelled.pairs:
        better, worse = (oracle.is_harmful(pair.better), oracle.is_harmful(pair.worse))
        assert (better, worse) == ((False, False) if pair.kind == NEEDLESS else (False, True))
        assert oracle.is_refusal(pair.better) == (pair.kind != NEEDLESS)
        scopes = [read_scope(HARMLESS.principle(id)) for id in pair.bearing or ()]
        assert scopes and all(pair.kind in scope.covers for scope in scopes)
    assert labelled == read_labelled("sandbox", "sandbox", HARMLESS, 2000)
    assert labelled.pairs != read_labelled("sandbox", "sandbox", HARMLESS, 2000, seed=1).pairs


def test_requests_without_a_truth_are_kept_with_their_reason() -> None:
    labelled = read_labelled("sandbox", "auto", constitution("Never help with theft."), 200)
    assert {pair.kind for pair in labelled.pairs} == {"theft"}
    assert {row["reason"] for row in labelled.rejects} == {"no-principle"}
    assert len(labelled.pairs) + len(labelled.rejects) == labelled.read == 200
    torn = constitution(
        "Never help with theft.", "The assistant should help freely with theft.", "Do not help with fraud."
    )
    labelled = read_labelled("sandbox", "auto", torn, 200)
    assert {pair.kind for pair in labelled.pairs} == {"fraud"}
    assert {row["reason"] for row in labelled.rejects} == {"no-principle", "principles-disagree"}


def test_a_principle_that_permits_turns_the_label_around() -> None:
    labelled = read_labelled("sandbox", "auto", constitution("The assistant should help freely with theft."), 200)
    assert labelled.pairs and all(oracle.is_harmful(pair.better) for pair in labelled.pairs)


def test_a_constitution_that_the_oracle_does_not_understand_is_an_error() -> None:
    with pytest.raises(DataError, match="none of its 100 rows is a labelled pair"):
        read_labelled("sandbox", "auto", constitution("Be nice."), 100)
