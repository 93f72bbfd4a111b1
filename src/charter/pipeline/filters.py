"""Which pairs are left out: pure functions over one or two answers, and over the labels that the judge gave them.

What is left out is kept among the failures with its reason. The filters registered below run before the judge, so that
it is not asked in vain; their name is the reason. ``duplicate`` is the reason of two answers that another strategy has
paired already. After the judge: ``orders-contradict``, and ``judge-refused`` where it only declined to judge. Answers
that were cut off never come here (`charter.pipeline.rows.finished`), and only the judge can find a tie.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import Any

from charter.config import Filters
from charter.core.plugins import Registry
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


AnswerFilter = Callable[[str, Filters, str], bool]
"""Whether to leave out an answer, given the settings and the code of the constitution's language."""

PairFilter = Callable[[str, str, Filters], bool]
"""Whether to leave out a pair of answers, given the settings; asked only about answers that no filter leaves out."""

ANSWER_FILTERS: Registry[AnswerFilter] = Registry("filter of answers", "pairs.filters.custom")
answer_filter = ANSWER_FILTERS.register
"""Decorator: leave out each answer for which the function is true; the name is the reason among the failures."""

PAIR_FILTERS: Registry[PairFilter] = Registry("filter", "pairs.filters.custom")
pair_filter = PAIR_FILTERS.register
"""Decorator: leave out each pair for which the function is true; the name is the reason among the failures."""


def filter_candidates(candidates: Sequence[Row], settings: Filters, language: str) -> Outcome:
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


def filter_labels(judged: Outcome, settings: Filters) -> Outcome:
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
    """The first reason against making a pair of two answers; None if there is none.

    Raises:
        ConfigError: no filter of a name in `settings.custom` is registered.
    """
    for answer in (first, last):
        if fault := fault_of_answer(answer, settings, language):
            return fault
    custom = ((name, PAIR_FILTERS[name]) for name in settings.custom if name not in ANSWER_FILTERS)
    filters = chain(_BUILT_IN_PAIR_FILTERS, custom)
    return next((name for name, leaves_out in filters if leaves_out(first, last, settings)), None)


def fault_of_answer(answer: str, settings: Filters, language: str) -> str | None:
    """The first reason against using an answer at all; None if there is none.

    Args:
        answer: of the model.
        settings: the thresholds.
        language: a code that `charter.pipeline.language.is_known`, used if `settings.language` is on.
    """
    custom = ((name, ANSWER_FILTERS[name]) for name in settings.custom if name in ANSWER_FILTERS)
    filters = chain(_BUILT_IN_ANSWER_FILTERS, custom)
    return next((name for name, leaves_out in filters if leaves_out(answer, settings, language)), None)


@answer_filter("empty")
def _is_empty(answer: str, settings: Filters, language: str) -> bool:
    return not answer.strip()


@answer_filter("preamble-only")
def _is_preamble_only(answer: str, settings: Filters, language: str) -> bool:
    return not strip_preamble(answer)


@answer_filter("repetition")
def _repeats_itself(answer: str, settings: Filters, language: str) -> bool:
    return settings.repetition is not None and repetition(answer) >= settings.repetition


@answer_filter("language")
def _is_in_another_language(answer: str, settings: Filters, language: str) -> bool:
    return settings.language and is_foreign(answer, language)


@pair_filter("identical")
def _is_identical(first: str, last: str, settings: Filters) -> bool:
    return is_same(first, last)


@pair_filter("prefix")
def _is_prefix(first: str, last: str, settings: Filters) -> bool:
    return begins(first, last) or begins(last, first)


@pair_filter("near-identical")
def _is_near_identical(first: str, last: str, settings: Filters) -> bool:
    return settings.near_identical is not None and agrees(first, last, settings.near_identical)


@pair_filter("length-ratio")
def _differs_in_length(first: str, last: str, settings: Filters) -> bool:
    return settings.length_ratio is not None and length_ratio(first, last) > settings.length_ratio


# These always run, in the order above; those of plugins run where `Filters.custom` names them.
_BUILT_IN_ANSWER_FILTERS = ANSWER_FILTERS.registered()
_BUILT_IN_PAIR_FILTERS = PAIR_FILTERS.registered()


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
