"""How answers are written, apart from what they say: length, repetition, diversity, apologies and preaching.

Measured on harmless requests that were answered; a refusal has a style of its own, and is counted elsewhere. The
phrases are English.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from charter.core.statistics.intervals import PairedMean, Rate, bootstrap_mean, interval_about, jackknife, paired_mean
from charter.core.text import split_words
from charter.pipeline.refusal.features import tokens

MEANS = ("length", "repetition")
"""Numbers of each answer, of which the mean is told; diversity is one of all answers together."""

DRAWS = 1000
"""Bootstrap samples, and turns of signs."""

Texts = Mapping[str, str]
"""Answers by request."""


def apologises(answer: str) -> bool:
    """Whether an answer says sorry."""
    return bool(_phrases("apology").search(_plain(answer)))


def preaches(answer: str) -> bool:
    """Whether an answer warns, moralises or speaks of itself where nobody asked it to."""
    return bool(_phrases("preaching").search(_plain(answer)))


def length(answer: str) -> float:
    """Words of an answer."""
    return float(sum(word[0].isalnum() for word in _words(answer)))


def repetition(answer: str, n: int = 3) -> float:
    """The share of runs of `n` words that were there before in the same answer (seq-rep-n, Welleck et al., 2020)."""
    runs = _runs(answer, n)
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def measure_style(answers: Texts) -> dict[str, Rate]:
    """Mean length and repetition, and diversity; nothing where there are fewer than two answers."""
    texts = list(answers.values())
    if len(texts) < 2:
        return {}
    most = {"length": math.inf, "repetition": 1.0}
    found = {
        name: bootstrap_mean([_OF[name](text) for text in texts], draws=DRAWS).within(0.0, most[name]) for name in MEANS
    }
    low, high = interval_about(diversity(texts), jackknife(_without_each(texts)))
    return found | {"diversity": Rate(diversity(texts), low, high, len(texts)).within(0.0, 1.0)}


def compare_style(first: Texts, second: Texts) -> dict[str, PairedMean]:
    """The second model's style minus the first's, on the requests that both answered."""
    shared = sorted(first.keys() & second.keys())
    before, after = [first[key] for key in shared], [second[key] for key in shared]
    found = {name: _compare_mean(name, before, after) for name in MEANS}
    if len(shared) > 1:
        found["diversity"] = _compare_diversity(before, after)
    return found


def diversity(answers: Sequence[str]) -> float:
    """Distinct pairs of neighbouring words per pair, over all answers (distinct-2, Li et al., 2016).

    It falls as answers become more, so it is only compared on the same requests.
    """
    pairs = [run for answer in answers for run in _runs(answer, 2)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _compare_mean(name: str, before: Sequence[str], after: Sequence[str]) -> PairedMean:
    return paired_mean(list(map(_OF[name], before)), list(map(_OF[name], after)), draws=DRAWS)


def _compare_diversity(before: Sequence[str], after: Sequence[str]) -> PairedMean:
    difference = diversity(after) - diversity(before)
    error = jackknife(_without_each(after) - _without_each(before))
    low, high = interval_about(difference, error)
    p = math.erfc(abs(difference) / error / math.sqrt(2)) if error else float(difference == 0)
    return PairedMean(difference, low, high, len(before), p)


def _without_each(answers: Sequence[str]) -> NDArray[np.float64]:
    """Diversity without each of the answers in turn."""
    runs = [_runs(answer, 2) for answer in answers]
    holders = Counter(run for own in runs for run in set(own))
    distinct, total = len(holders), sum(map(len, runs))
    alone = [sum(holders[run] == 1 for run in set(own)) for own in runs]
    return np.array([(distinct - a) / max(1, total - len(own)) for a, own in zip(alone, runs, strict=True)])


def _runs(answer: str, n: int) -> list[tuple[str, ...]]:
    words = _words(answer)
    return [words[i : i + n] for i in range(len(words) - n + 1)]


@lru_cache(maxsize=4096)
def _words(answer: str) -> tuple[str, ...]:
    return tuple(split_words(answer))


@lru_cache(maxsize=4096)
def _plain(answer: str) -> str:
    return " ".join(tokens(answer))


@cache
def _phrases(name: str) -> re.Pattern[str]:
    found = yaml.safe_load(Path(__file__).with_name("style_phrases.yaml").read_text(encoding="utf-8"))[name]
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, found))})\b")


_OF: Mapping[str, Callable[[str], float]] = {"length": length, "repetition": repetition}
