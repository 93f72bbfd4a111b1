"""The figures of an audit, from judged pairs alone: nothing here asks a model.

Every figure is about the answer that the labels call better: how often the judge says so too, how sure it is
when it does, and whether the place, the length or the author of an answer moves it.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

from charter.audit.judged import JudgedPair, verdict
from charter.core.statistics.association import compare_groups, pair_kappa, rank_correlation
from charter.core.statistics.intervals import Rate, bootstrap_mean, rate_of, sign_test
from charter.data.conversations import prompt_group
from charter.pipeline.judges.calibration import fit_isotonic, fit_temperature, mirrored, score
from charter.pipeline.judges.dissent import dissent
from charter.pipeline.judges.protocol import clip_probability

Pairs = Sequence[JudgedPair]

FEWEST = 20
"""Pairs that each half needs, for a calibration to be fitted to one and tried on the other."""


def figures(
    asked: Pairs, tie_margin: float = 0.05, own: Collection[str] = (), members: Sequence[str] = ()
) -> dict[str, Any]:
    """Every figure, as it stands in ``audit.json``. Rates have 95 % intervals; None is what could not be measured.

    Pairs on which a panel splits get no label in a run: only ``splits`` and ``by_member`` are about them as well.

    Args:
        asked: what the judge said.
        tie_margin: verdicts with |p - 1/2| at or under this are ties, set aside and counted.
        own: the names under which the judge's own answers may stand, for self-preference.
        members: the names of a panel's members, in their order.
    """
    pairs = [pair for pair in asked if not pair.split]
    return {
        "pairs": len(asked),
        **splits(asked, members, tie_margin),
        **agreement([pair.p for pair in pairs], tie_margin),
        "one_order": agreement([pair.one_order for pair in pairs], tie_margin),
        "position": position(pairs),
        "length": length(pairs, tie_margin),
        "self_preference": self_preference(pairs, own, tie_margin),
        "kappa": kappa(pairs, tie_margin),
        "by_principle": by_principle(pairs, tie_margin),
        "by_kind": _by([(pair.pair.kind, pair.p) for pair in pairs], tie_margin),
        "by_source": _by([(pair.pair.source, pair.p) for pair in pairs], tie_margin),
        "calibration": calibration(pairs),
    }


def splits(pairs: Pairs, members: Sequence[str], tie_margin: float) -> dict[str, Any]:
    """How often a panel splits, on what kind of pair, who stands alone there, and each member's own verdicts."""
    if not members:
        return {"splits": None, "splits_by_kind": {}, "by_member": {}, "by_member_on_kind": {}, "dissent": {}}
    kinds = sorted({pair.pair.kind for pair in pairs if pair.pair.kind is not None})
    said = [(pair.pair.kind, name, p) for pair in pairs for name, p in zip(members, pair.by_member, strict=True)]
    return {
        "splits": rate_of([pair.split for pair in pairs]).to_dict(),
        "splits_by_kind": {kind: rate_of([p.split for p in pairs if p.pair.kind == kind]).to_dict() for kind in kinds},
        "by_member": _by([(name, p) for _, name, p in said], tie_margin),
        "by_member_on_kind": _by([(f"{name} on {kind}", p) for kind, name, p in said if kind], tie_margin),
        "dissent": dissent([(pair.pair.kind, pair.by_member) for pair in pairs], members, tie_margin),
    }


def agreement(p_better: Sequence[float], tie_margin: float) -> dict[str, Any]:
    """How often the verdict is right where there is one, and how often there is none."""
    verdicts = [verdict(p, tie_margin) for p in p_better]
    right = [said == "better" for said in verdicts if said != "tie"]
    return {
        "agreement": rate_of(right).to_dict(),
        "ties": rate_of([said == "tie" for said in verdicts]).to_dict(),
    }


def position(pairs: Pairs) -> dict[str, Any]:
    """Whether the place of an answer moves the judge.

    ``flips``: pairs on which the two orders name different answers, which is to say the same letter twice.
    ``a_twice``: the share of A among those; ``p``: the exact probability of so uneven a split by chance.
    ``pull``: how much more probable an answer seems when it is shown as A, on average over all pairs.
    """
    flips = [(pair.as_a - 0.5) * (pair.as_b - 0.5) < 0 for pair in pairs]
    a_twice = [pair.as_a > 0.5 for pair, flipped in zip(pairs, flips, strict=True) if flipped]
    pull = bootstrap_mean([pair.as_a - pair.as_b for pair in pairs]) if pairs else Rate(None, -1.0, 1.0, 0)
    return {
        "flips": rate_of(flips).to_dict(),
        "a_twice": rate_of(a_twice).to_dict(),
        "p": sign_test(sum(a_twice), len(a_twice)),
        "pull": pull.to_dict(),
    }


def length(pairs: Pairs, tie_margin: float) -> dict[str, Any]:
    """Whether the judge prefers the longer answer, in characters, for its length.

    A judge that does is right where the better answer is the longer one and wrong where it is not; and the more
    the better answer outgrows the other, the surer it is (``correlation``, of ranks). Verdicts without ties.
    """
    clear = [
        (pair.p > 0.5, len(pair.pair.better) > len(pair.pair.worse))
        for pair in pairs
        if verdict(pair.p, tie_margin) != "tie" and len(pair.pair.better) != len(pair.pair.worse)
    ]
    right, longer = [r for r, _ in clear], [x for _, x in clear]
    odds = [_log_odds(pair.p) for pair in pairs]
    more = [len(pair.pair.better) - len(pair.pair.worse) for pair in pairs]
    return {
        **compare_groups(right, longer, ("better_is_longer", "better_is_shorter")),
        "prefers_longer": rate_of([r == x for r, x in clear]).to_dict(),
        "correlation": rank_correlation(odds, more).to_dict(),
    }


def self_preference(pairs: Pairs, own: Collection[str], tie_margin: float) -> dict[str, Any] | None:
    """Whether the judge favours its own model's answers: right more often where the better answer is its own.

    Over pairs with exactly one answer of its own; None where there are none.
    """
    one_of_own = [
        (pair.p > 0.5, pair.pair.models[0] in own)
        for pair in pairs
        if verdict(pair.p, tie_margin) != "tie" and sum(model in own for model in pair.pair.models) == 1
    ]
    if not one_of_own:
        return None
    right, better_is_own = [r for r, _ in one_of_own], [o for _, o in one_of_own]
    return {
        **compare_groups(right, better_is_own, ("better_is_own", "worse_is_own")),
        "prefers_own": rate_of([r == o for r, o in one_of_own]).to_dict(),
    }


def kappa(pairs: Pairs, tie_margin: float) -> dict[str, Any] | None:
    """Cohen's kappa of the judge and people, ties being a verdict of their own; None where no people were asked."""
    asked = [(verdict(pair.p, tie_margin), pair.pair.human) for pair in pairs]
    known = [(ours, theirs) for ours, theirs in asked if theirs is not None]
    return pair_kappa([a for a, _ in known], [b for _, b in known]).to_dict() if known else None


def by_principle(pairs: Pairs, tie_margin: float) -> dict[str, Any]:
    """Each principle's own verdicts, over the pairs on which it bears as far as that is known."""
    said = [
        (id, p)
        for pair in pairs
        for id, p in zip(pair.principles, pair.by_principle, strict=True)
        if pair.pair.bearing is None or id in pair.pair.bearing
    ]
    return _by(said, tie_margin)


def calibration(pairs: Pairs) -> dict[str, Any]:
    """How true the probabilities are, and how true they become by what is fitted to half of the prompts.

    ``whole`` is over all pairs. The others are over the half to which nothing was fitted: ``before``, and after
    a ``temperature`` and an ``isotonic`` curve; None where a half has fewer than `FEWEST` pairs.
    """
    fit, test = ([pair.p for pair in pairs if _in_first_half(pair) is half] for half in (True, False))
    whole = {"whole": score([pair.p for pair in pairs]), "fitted_to": len(fit)}
    if min(len(fit), len(test)) < FEWEST:
        return {**whole, "before": None, "temperature": None, "isotonic": None}
    temperature, isotonic = fit_temperature(*mirrored(fit)), fit_isotonic(*mirrored(fit))
    return {
        **whole,
        "before": score(test),
        "temperature": score(temperature(test)) | {"parameters": temperature.to_dict()},
        "isotonic": score(isotonic(test)) | {"parameters": isotonic.to_dict()},
    }


def mistakes(pairs: Pairs, n: int = 6, tie_margin: float = 0.05) -> list[dict[str, Any]]:
    """The pairs about which the judge was most sure and wrong, surest first."""
    labelled = (pair for pair in pairs if not pair.split)
    wrong = sorted((pair for pair in labelled if verdict(pair.p, tie_margin) == "worse"), key=lambda pair: pair.p)
    return [
        {
            **pair.row(),
            "prompt": [dict(message) for message in pair.pair.prompt],
            "better": pair.pair.better,
            "worse": pair.pair.worse,
        }
        for pair in wrong[:n]
    ]


def _by(said: Sequence[tuple[str | None, float]], tie_margin: float) -> dict[str, Any]:
    names = sorted({name for name, _ in said if name is not None})
    return {name: agreement([p for other, p in said if other == name], tie_margin) for name in names}


def _log_odds(p: float) -> float:
    p = clip_probability(p)
    return round(math.log(p / (1 - p)), 9)  # so that 0.15 and 1 - 0.85 are of one rank


def _in_first_half(pair: JudgedPair) -> bool:
    return prompt_group(pair.pair.prompt) % 2 == 0  # by the words of the prompt, so that none is on both sides
