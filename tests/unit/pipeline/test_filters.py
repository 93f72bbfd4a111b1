from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.config import Filters, Judge
from charter.inference import Client
from charter.pipeline.answer_text import WINDOW, repeated_share
from charter.pipeline.filters import (
    agrees,
    contradicts,
    fault_of_answer,
    fault_of_pair,
    filter_candidates,
    filter_labels,
    length_ratio,
)
from charter.pipeline.judge import judge_candidates
from charter.pipeline.rows import Outcome, StageContext, failure
from charter.testing.null_server import NullServer, run_null_server
from tests.support.judge_scripts import LAW
from tests.support.judge_scripts import candidate as pair_to_judge

FILTERS = Filters(length_ratio=4, language=True)
ANSWER = "No, I would rather not do that, because somebody could get hurt; here is another idea for the evening."
LONG = " ".join(f"word{i}" for i in range(60))
PROSE = " ".join(f"other{i}" for i in range(300))
DOCS = Path(__file__).parents[3] / "docs"
GERMAN = "Die Antwort ist nicht weit von hier zu finden, und man kann auch mit der Bahn auf den Berg fahren."


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (" \n", "empty"),
        ("Sure, here is the revised answer:", "preamble-only"),
        (ANSWER.upper().replace(" ", "  "), "identical"),
        (ANSWER.replace(".", ". Enjoy!"), "prefix"),
        (ANSWER.upper().replace(" ", "\n").replace(".", ". Enjoy!"), "prefix"),
        ("I will not go on. " * 12, "repetition"),
        ("no no no no no no no no no no no no", "repetition"),
        ("好的好的好的好的好的好的好的", "repetition"),
        ("!" * 40, "repetition"),
        ("Never.", "length-ratio"),
        (GERMAN, "language"),
        ("Yes, gladly: take the ladder, open the window and walk in while they are asleep upstairs.", None),
    ],
)
def test_a_pair_is_left_out_for_a_reason(other: str, reason: str | None) -> None:
    assert fault_of_pair(ANSWER, other, FILTERS, "en") == fault_of_pair(other, ANSWER, FILTERS, "en") == reason


def test_a_prefix_begins_the_other_answer_to_the_letter() -> None:
    assert fault_of_pair("bad", "bad and more", FILTERS, "en") == "prefix"
    assert fault_of_pair("badly", "bad at it", FILTERS, "en") is None


def test_a_prefix_has_any_case_and_spacing() -> None:
    assert fault_of_pair("No,  I WILL not", "no, i will not do that.", FILTERS, "en") == "prefix"
    assert fault_of_pair("No, I wi", "No, I will not.", FILTERS, "en") == "prefix"  # cut off in a word
    assert fault_of_pair("No, I will never", "No, I will not.", FILTERS, "en") is None


@pytest.mark.parametrize(("changed", "reason"), [(1, "near-identical"), (2, None)])
def test_near_identical_is_a_share_of_the_words(changed: int, reason: str | None) -> None:
    other = " ".join(["other"] * changed + LONG.split()[changed:])
    assert fault_of_pair(f"{LONG} end", f"{other} end", Filters(), "en") == reason
    assert fault_of_pair(f"{LONG} end", f"{other} end", Filters(near_identical=None), "en") is None


def test_words_in_another_order_are_another_answer() -> None:
    assert agrees("the dog bites the man", "the dog bites the man", 1.0)
    assert not agrees("the dog bites the man", "the man bites the dog", 0.9)
    assert agrees("a b c d", "a b c e", 0.75) and not agrees("a b c d", "a b c e", 0.76)


def test_a_short_answer_and_plain_prose_do_not_go_round_in_circles() -> None:
    assert repeated_share("No, no, no, no.") == 0.0
    assert repeated_share(ANSWER) == 0.0
    assert repeated_share("on and on " * 20) == pytest.approx(1 - 3 / 57)


@pytest.mark.parametrize(
    "text",
    ["ha" * 200, f"{PROSE} " + "and again and " * 25],
    ids=["one long word", "at the end of a long answer"],
)
def test_going_round_in_circles_is_seen_in_a_word_and_late(text: str) -> None:
    assert fault_of_answer(text, Filters(), "en") == "repetition"


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_prose_lists_tables_and_code_do_not_go_round_in_circles(path: Path) -> None:
    text = path.read_text()
    for part in (text, *text.split("\n\n")):
        assert repeated_share(part) < 0.6, part


@pytest.mark.parametrize("text", ["-" * 50, "=" * 50, "| --- " * 20 + "|"])
def test_a_drawn_rule_in_a_long_answer_is_no_loop(text: str) -> None:
    assert repeated_share(f"{PROSE}\n\n{text}\n\n{LONG}") < 0.6


@given(st.lists(st.integers(0, 10**6), min_size=80, max_size=400, unique=True), st.integers(1, 8), st.data())
def test_what_repeats_for_sixty_words_is_found_wherever_it_stands(
    numbers: list[int], period: int, data: st.DataObject
) -> None:
    words = [f"w{number}" for number in numbers]
    assert repeated_share(" ".join(words)) == 0.0
    place = data.draw(st.integers(0, len(words)))
    loop = [*words[:period]] * (1 + WINDOW // period)
    assert repeated_share(" ".join([*words[:place], *loop, *words[place:]])) >= 0.6


def test_lengths_are_counted_in_words() -> None:
    assert length_ratio("one two", "one two three four five six") == length_ratio("a b c", "d") == 3.0
    assert length_ratio("", "a b") == 2.0


def test_what_the_defaults_leave_alone() -> None:
    assert fault_of_pair("bad 1", "safe 1", Filters(), "en") is None
    assert fault_of_pair(ANSWER, "Never.", Filters(), "en") is None
    assert fault_of_pair(ANSWER, GERMAN, Filters(), "en") is None


def candidate(number: int, first: str, last: str, strategy: str = "revision") -> dict:
    return {
        "row_id": f"r{number}", "pair_id": f"r{number}/{strategy}/0", "strategy": strategy,
        "first": first, "last": last, "drawn": ["p1"],
    }  # fmt: skip


def test_what_leaves_is_kept_with_its_reason_and_both_answers() -> None:
    rows = [
        candidate(0, "bad", "good"),
        candidate(0, "good", "bad", "samples"),
        candidate(1, "bad", "good"),
        candidate(2, "same.", "Same."),
    ]
    outcome = filter_candidates(rows, Filters(), "en")
    assert [row["pair_id"] for row in outcome.rows] == ["r0/revision/0", "r1/revision/0"]
    assert [(lost["pair_id"], lost["stage"], lost["reason"], lost["detail"]) for lost in outcome.failures] == [
        ("r0/samples/0", "pair", "duplicate", "'good' | 'bad'"),
        ("r2/revision/0", "pair", "identical", "'same.' | 'Same.'"),
    ]
    assert [lost["principle_ids"] for lost in outcome.failures] == [None, ["p1"]]  # a duplicate is nobody's doing


@pytest.mark.parametrize(
    ("p_by_order", "against"),
    [((0.9, 0.4), True), ((0.4, 0.9), True), ((0.9, 0.6), False), ((0.9, 0.5), False)],
)
def test_orders_contradict_each_other_on_both_sides_of_one_half(p_by_order: tuple[float, float], against: bool) -> None:
    assert contradicts(p_by_order) is against
    row = {**candidate(0, "bad", "good"), "p_by_order": list(p_by_order), "principle_ids": ["p1", "p2"]}
    kept = filter_labels(Outcome([row]), Filters())
    assert (kept.rows, kept.failures) == ([row], [])  # off unless asked for
    dropped = filter_labels(Outcome([row]), Filters(drop_contradictions=True))
    assert len(dropped.rows) == (0 if against else 1)
    assert [(lost["reason"], lost["principle_ids"]) for lost in dropped.failures] == (
        [("orders-contradict", ["p1", "p2"])] if against else []
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("I'm sorry, but I cannot help with comparing these two answers.", "judge-refused"),
        ("Both of them are answers, and answer one is the longer one of the two.", "no-choice"),
    ],
)
def test_a_judge_that_refuses_is_told_from_one_that_cannot_be_read(said: str, reason: str) -> None:
    lost = failure(candidate(0, "bad", "good"), "judge", "no-choice", said, ["p1"])
    (named,) = filter_labels(Outcome(failures=[lost]), Filters()).failures
    assert named == {**lost, "reason": reason}


@pytest.mark.parametrize("kind", ["choice", "score", "reasoned"])
@pytest.mark.parametrize("how", ["unknown", "ignored"])
async def test_a_refusal_is_called_one_where_the_server_cannot_hold_the_judge_to_its_choices(
    kind: str, how: str
) -> None:
    def refuse(messages):
        return "I'm sorry, but I cannot help with comparing these answers."

    with run_null_server(NullServer(answer=refuse, **{how: ("structured_outputs",)})) as server:
        async with Client([server.url], "null") as client:
            context = StageContext(client.complete, LAW, seed=1, model_identity="m")
            judged = await judge_candidates([pair_to_judge()], context, Judge(kind=kind))
    (lost,) = filter_labels(judged, Filters()).failures
    assert (lost["stage"], lost["reason"], lost["detail"]) == ("judge", "judge-refused", refuse([]))
