"""Filters: which pairs are left out, by one or two answers and by the labels that the judge gave them.

A pair that is left out is kept among the failures with its reason. The filters that are registered below run before
the judge, so that no call is wasted; a filter's name is the reason. ``duplicate`` means that another strategy has
already paired the same two answers. After the judge: ``orders-contradict``, and ``judge-refused`` if it only declined
to judge.
"""

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from itertools import chain

from charter.config import Filters
from charter.core.plugins import Registry
from charter.core.text import split_words
from charter.pipeline.answer_text import is_foreign, repeated_share, strip_preamble
from charter.pipeline.refusal.classifier import RefusalLabel, classify_refusal
from charter.pipeline.rows import Outcome, Row, failure

_NO_VERDICT = ("no-choice", "no-verdict", "unparseable")


AnswerFilter = Callable[[str, Filters, str], bool]
"""Whether to leave out an answer, given the settings and the code of the constitution's language."""

PairFilter = Callable[[str, str, Filters], bool]
"""Whether to leave out a pair of answers, given the settings; called only with answers that no filter leaves out."""

ANSWER_FILTERS: Registry[AnswerFilter] = Registry("filter of answers", "pairs.filters.custom")
answer_filter = ANSWER_FILTERS.register
"""Decorator: leave out each answer for which the function is true; the name is the reason among the failures."""

PAIR_FILTERS: Registry[PairFilter] = Registry("filter", "pairs.filters.custom")
pair_filter = PAIR_FILTERS.register
"""Decorator: leave out each pair for which the function is true; the name is the reason among the failures."""


def filter_candidates(candidates: Sequence[Row], settings: Filters, language: str) -> Outcome:
    """Candidates for the judge, and failures for the others, in their order."""
    outcome, seen = Outcome(), set[tuple[str, frozenset[str]]]()
    for row in candidates:
        first, last = row["first"], row["last"]
        two = (row["row_id"], frozenset((first, last)))  # the same two answers, in either order
        detail = f"{first!r} | {last!r}"
        if reason := fault_of_pair(first, last, settings, language):
            outcome.failures.append(failure(row, "pair", reason, detail, row["drawn"]))
        elif two in seen:
            outcome.failures.append(failure(row, "pair", "duplicate", detail))  # no principle caused it
        else:
            seen.add(two)
            outcome.rows.append(dict(row))
    return outcome


def filter_labels(judged: Outcome, settings: Filters) -> Outcome:
    """Labels to train on, with the judge's failures and the new ones; a failure that is a refusal is renamed."""
    outcome = Outcome()
    for lost in judged.failures:
        # A judge that refuses gives no verdict; the failure says which of the two it was.
        unread = lost["reason"] in _NO_VERDICT
        refused = unread and classify_refusal("", lost["detail"]) is RefusalLabel.REFUSAL
        outcome.failures.append({**lost, "reason": "judge-refused"} if refused else lost)
    for row in judged.rows:
        if settings.drop_contradictions and contradicts(row["p_by_order"]):
            detail = "p(chosen) shown first and second: " + " and ".join(f"{p:.3f}" for p in row["p_by_order"])
            outcome.failures.append(failure(row, "judge", "orders-contradict", detail, row["principle_ids"]))
        else:
            outcome.rows.append(row)
    return outcome


def fault_of_pair(first: str, last: str, settings: Filters, language: str) -> str | None:
    """The first reason against pairing two answers, or None.

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
    """The first reason against using an answer at all, or None.

    Args:
        answer: text of the model.
        settings: the thresholds.
        language: a code that `charter.pipeline.answer_text.is_known_language`, used if `settings.language` is on.
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
    return settings.repetition is not None and repeated_share(answer) >= settings.repetition


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


# These always run, in the order above, cheapest first; those of plugins run only if `Filters.custom` names them.
_BUILT_IN_ANSWER_FILTERS = ANSWER_FILTERS.registered()
_BUILT_IN_PAIR_FILTERS = PAIR_FILTERS.registered()


def is_same(one: str, other: str) -> bool:
    """Whether two texts have the same words and marks, whatever their case and spacing."""
    return split_words(one) == split_words(other)


def begins(one: str, other: str) -> bool:
    """Whether a text is the beginning of another, to the letter, whatever their case and spacing."""
    # Letters, not words: an answer that was cut off may end within a word.
    return " ".join(split_words(other)).startswith(" ".join(split_words(one)))


def agrees(one: str, other: str, share: float) -> bool:
    """Whether two texts agree in `share` of their words, in order: twice the matching words over all words."""
    matcher = SequenceMatcher(None, split_words(one), split_words(other), autojunk=False)
    bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)  # upper bounds first: they are cheap
    return all(bound() >= share for bound in bounds)


def length_ratio(one: str, other: str) -> float:
    """The longer text's length over the shorter one's, in words and marks; an empty text counts as one word."""
    shorter, longer = sorted(max(1, len(split_words(text))) for text in (one, other))
    return longer / shorter


def contradicts(p_by_order: Sequence[float]) -> bool:
    """Whether the preferred answer depends on which of the two is shown first."""
    return min(p_by_order) < 0.5 < max(p_by_order)
