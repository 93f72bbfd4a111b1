"""Which pairs are junk: pure functions over two answers, and over the labels that the judge gave them.

What is left out is kept among the failures with its reason. Before the judge, so that it is not asked in vain:
``empty``, ``preamble-only``, ``identical``, ``prefix``, ``near-identical``, ``repetition``, ``length-ratio``,
``language``, and ``duplicate`` for two answers that another strategy has paired already. After it:
``orders-contradict``, and ``judge-refused`` where it said no more than that it would not judge. Answers that were cut
off never come here (`charter.pipeline.rows.finished`), and a tie is for the judge to see.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from charter.config import Filters
from charter.core.text import runs_of, split_words
from charter.pipeline.language import is_foreign
from charter.pipeline.preamble import strip_preamble
from charter.pipeline.refusal.classifier import RefusalLabel, classify_refusal
from charter.pipeline.rows import Outcome, Row, failure

RUN = 4
"""Words per run, in looking for repetition."""
FEWEST_WORDS = 12
"""Shorter texts never count as going round in circles."""
STRETCH = 60
"""Words in which a long text may begin to go round in circles."""
LONGEST_WORD = 60
"""What is longer is no word, and is read by the character."""

_UNREADABLE = ("no-choice", "no-verdict", "unparseable")


def sift(candidates: Sequence[Row], settings: Filters, language: str) -> Outcome:
    """Candidates that are worth asking the judge about, and failures for the others, in their order."""
    outcome, seen = Outcome(), set[tuple[str, frozenset[str]]]()
    for row in candidates:
        first, last = row["first"], row["last"]
        two = (row["row_id"], frozenset((first, last)))
        detail = f"{first!r} | {last!r}"
        if reason := fault_of_pair(first, last, settings, language):
            outcome.failures.append(failure(row, "pair", reason, detail, row["drawn"]))
        elif two in seen:
            outcome.failures.append(failure(row, "pair", "duplicate", detail))  # which is no principle's doing
        else:
            seen.add(two)
            outcome.rows.append(dict(row))
    return outcome


def settle(judged: Outcome, settings: Filters) -> Outcome:
    """Labels that can be trained on, with the failures that there were and the new ones."""
    outcome = Outcome(failures=[_named(row) for row in judged.failures])
    for row in judged.rows:
        if settings.drop_contradictions and contradicts(row["p_by_order"]):
            detail = "p(chosen) shown first and second: " + " and ".join(f"{p:.3f}" for p in row["p_by_order"])
            outcome.failures.append(failure(row, "judge", "orders-contradict", detail, row["principle_ids"]))
        else:
            outcome.rows.append(row)
    return outcome


def fault_of_pair(first: str, last: str, settings: Filters, language: str) -> str | None:
    """The first reason against making a pair of two answers; None if there is none."""
    return next(_faults(first, last, settings, language), None)


def fault_of_answer(answer: str, settings: Filters, language: str) -> str | None:
    """The first reason against using an answer at all; None if there is none.

    Args:
        answer: of the model.
        settings: the thresholds.
        language: a code that `charter.pipeline.language.is_known`, looked at if `settings.language` is on.
    """
    if not answer.strip():
        return "empty"
    if not strip_preamble(answer):
        return "preamble-only"
    if settings.repetition is not None and repetition(answer) >= settings.repetition:
        return "repetition"
    if settings.language and is_foreign(answer, language):
        return "language"
    return None


def _faults(first: str, last: str, settings: Filters, language: str) -> Iterator[str]:
    for answer in (first, last):
        if fault := fault_of_answer(answer, settings, language):
            yield fault
    if is_same(first, last):
        yield "identical"
    if begins(first, last) or begins(last, first):
        yield "prefix"
    if settings.near_identical is not None and agrees(first, last, settings.near_identical):
        yield "near-identical"
    if settings.length_ratio is not None and length_ratio(first, last) > settings.length_ratio:
        yield "length-ratio"


def is_same(one: str, other: str) -> bool:
    """Whether two texts have the same words and marks, whatever their case and spacing."""
    return split_words(one) == split_words(other)


def begins(one: str, other: str) -> bool:
    """Whether a text is the beginning of another, to the letter, whatever their case and spacing."""
    return " ".join(split_words(other)).startswith(" ".join(split_words(one)))


def agrees(one: str, other: str, share: float) -> bool:
    """Whether two texts agree in `share` of their words, in order: twice the matching ones by all of both."""
    matcher = SequenceMatcher(None, split_words(one), split_words(other), autojunk=False)
    bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)  # upper bounds first: they cost little
    return all(bound() >= share for bound in bounds)


def repetition(text: str) -> float:
    """The share of runs of four words that came before, in the whole text or the worst stretch of it; 0 if it is short.

    A text that begins to go round in circles late does so in a stretch alone. Marks do not count there: a rule or a
    table is drawn with many that are alike.
    """
    words = [part for word in split_words(text) for part in (word if len(word) > LONGEST_WORD else (word,))]
    if len(words) < FEWEST_WORDS:
        return 0.0
    runs = runs_of(words, RUN)
    return max(1 - len(set(runs)) / len(runs), _worst_stretch([word for word in words if word[0].isalnum()]))


def _worst_stretch(words: Sequence[str]) -> float:
    """The largest share of runs that came before in any `STRETCH` words one after the other."""
    runs, size = runs_of(words, RUN), STRETCH - RUN + 1
    if len(runs) < size:
        return 0.0
    inside = Counter(runs[:size])
    fewest = len(inside)
    for left, entered in zip(runs, runs[size:], strict=False):
        inside[entered] += 1
        inside[left] -= 1
        if not inside[left]:
            del inside[left]
        fewest = min(fewest, len(inside))
    return 1 - fewest / size


def length_ratio(one: str, other: str) -> float:
    """How many times as long as the shorter text the longer one is, in words; marks count, an empty text as one."""
    shorter, longer = sorted(max(1, len(split_words(text))) for text in (one, other))
    return longer / shorter


def contradicts(p_by_order: Sequence[float]) -> bool:
    """Whether an answer is preferred when it is shown in one place, and not when it is shown in the other."""
    return min(p_by_order) < 0.5 < max(p_by_order)


def _named(lost: dict[str, Any]) -> dict[str, Any]:
    """A failure of the judge, called a refusal if it is one."""
    refused = lost["reason"] in _UNREADABLE and classify_refusal("", lost["detail"]) is RefusalLabel.REFUSAL
    return {**lost, "reason": "judge-refused"} if refused else lost
