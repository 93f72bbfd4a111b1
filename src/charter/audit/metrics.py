"""The metrics of an audit, computed from judged pairs alone, without asking a model.

Each is about the answer labelled better: how often the judge agrees, how sure it is when it does, and whether the
position, the length or the author of an answer influences it.
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

MIN_HALF = 20
"""The pairs that each half needs for fitting a calibration to one and testing it on the other."""


def audit_metrics(
    judged: Pairs, tie_margin: float = 0.05, own_names: Collection[str] = (), members: Sequence[str] = ()
) -> dict[str, Any]:
    """Every metric, as in ``audit.json``. Rates have 95 % intervals; None means that it could not be measured.

    Args:
        judged: the judge's opinions.
        tie_margin: verdicts with |p - 1/2| at or under this are ties, left out and counted.
        own_names: the names under which the judge's own answers may occur, for self-preference.
        members: the names of a panel's members, in their order.
    """
    # In a run, pairs on which a panel splits get no label, so only the panel's own metrics include them.
    pairs = [pair for pair in judged if not pair.split]
    by_principle = [
        (id_, p)
        for pair in pairs
        for id_, p in zip(pair.principles, pair.by_principle, strict=True)
        # A principle that has no bearing on a pair cannot be wrong about it.
        if pair.pair.bearing is None or id_ in pair.pair.bearing
    ]
    return {
        "pairs": len(judged),
        **panel_metrics(judged, members, tie_margin),
        **agreement_rates([pair.p for pair in pairs], tie_margin),
        "one_order": agreement_rates([pair.one_order for pair in pairs], tie_margin),
        "position": position_bias(pairs),
        "length": length_bias(pairs, tie_margin),
        "self_preference": self_preference(pairs, own_names, tie_margin),
        "kappa": kappa_with_people(pairs, tie_margin),
        "by_principle": _agreement_by(by_principle, tie_margin),
        "by_kind": _agreement_by([(pair.pair.kind, pair.p) for pair in pairs], tie_margin),
        "by_source": _agreement_by([(pair.pair.source, pair.p) for pair in pairs], tie_margin),
        "calibration": calibration_scores(pairs),
    }


def panel_metrics(pairs: Pairs, members: Sequence[str], tie_margin: float) -> dict[str, Any]:
    """How often a panel splits, on which kinds, who is alone there, and each member's agreement with the labels."""
    if not members:
        return {"splits": None, "splits_by_kind": {}, "by_member": {}, "by_member_on_kind": {}, "dissent": {}}
    kinds = sorted({pair.pair.kind for pair in pairs if pair.pair.kind is not None})
    votes = [(pair.pair.kind, name, p) for pair in pairs for name, p in zip(members, pair.by_member, strict=True)]
    by_member_on_kind = [(f"{name} on {kind}", p) for kind, name, p in votes if kind]
    return {
        "splits": rate_of([pair.split for pair in pairs]).to_dict(),
        "splits_by_kind": {kind: rate_of([p.split for p in pairs if p.pair.kind == kind]).to_dict() for kind in kinds},
        "by_member": _agreement_by([(name, p) for _, name, p in votes], tie_margin),
        "by_member_on_kind": _agreement_by(by_member_on_kind, tie_margin),
        "dissent": dissent([(pair.pair.kind, pair.by_member) for pair in pairs], members, tie_margin),
    }


def agreement_rates(p_better: Sequence[float], tie_margin: float) -> dict[str, Any]:
    """The share of verdicts that are right, over those that are no ties, and the share of ties over all."""
    verdicts = [verdict(p, tie_margin) for p in p_better]
    return {
        "agreement": rate_of([word == "better" for word in verdicts if word != "tie"]).to_dict(),
        "ties": rate_of([word == "tie" for word in verdicts]).to_dict(),
    }


def position_bias(pairs: Pairs) -> dict[str, Any]:
    """Whether the position of an answer influences the judge.

    ``flips``: pairs on which the two orders name different answers, so that the judge names the same letter twice.
    ``a_twice``: the share of A among those; ``p``: the exact probability of so uneven a division by chance.
    ``pull``: how much more probable an answer seems when it is shown as A, on average over all pairs.
    """
    # On different sides of one half: the verdict depends on the order.
    flips = [(pair.as_a - 0.5) * (pair.as_b - 0.5) < 0 for pair in pairs]
    a_twice = [pair.as_a > 0.5 for pair, flipped in zip(pairs, flips, strict=True) if flipped]
    pull = bootstrap_mean([pair.as_a - pair.as_b for pair in pairs]) if pairs else Rate(None, -1.0, 1.0, 0)
    return {
        "flips": rate_of(flips).to_dict(),
        "a_twice": rate_of(a_twice).to_dict(),
        "p": sign_test(sum(a_twice), len(a_twice)),
        "pull": pull.to_dict(),
    }


def length_bias(pairs: Pairs, tie_margin: float) -> dict[str, Any]:
    """Whether the judge prefers longer answers, in characters, for their length; ties are left out of the rates.

    A judge that does is right where the better answer is the longer one, and wrong where it is the shorter one.
    ``correlation``, of ranks: between its certainty about the better answer and how much longer that answer is.
    """
    clear = [
        (pair.p > 0.5, len(pair.pair.better) > len(pair.pair.worse))
        for pair in pairs
        if verdict(pair.p, tie_margin) != "tie" and len(pair.pair.better) != len(pair.pair.worse)
    ]
    right, longer = [r for r, _ in clear], [x for _, x in clear]
    probabilities = [clip_probability(pair.p) for pair in pairs]
    # Rounded, so that 0.15 and 1 - 0.85, which differ in floating point, have the same rank.
    log_odds = [round(math.log(p / (1 - p)), 9) for p in probabilities]
    extra = [len(pair.pair.better) - len(pair.pair.worse) for pair in pairs]
    return {
        **compare_groups(right, longer, ("better_is_longer", "better_is_shorter")),
        "prefers_longer": rate_of([r == x for r, x in clear]).to_dict(),
        "correlation": rank_correlation(log_odds, extra).to_dict(),
    }


def self_preference(pairs: Pairs, own_names: Collection[str], tie_margin: float) -> dict[str, Any] | None:
    """Whether the judge favours its own model's answers: right more often where the better answer is its own.

    Only pairs with exactly one such answer count; None if there are no such pairs.
    """
    mixed = [
        (pair.p > 0.5, pair.pair.models[0] in own_names)
        for pair in pairs
        if verdict(pair.p, tie_margin) != "tie" and sum(model in own_names for model in pair.pair.models) == 1
    ]
    if not mixed:
        return None
    right, better_is_own = [r for r, _ in mixed], [o for _, o in mixed]
    return {
        **compare_groups(right, better_is_own, ("better_is_own", "worse_is_own")),
        "prefers_own": rate_of([r == o for r, o in mixed]).to_dict(),
    }


def kappa_with_people(pairs: Pairs, tie_margin: float) -> dict[str, Any] | None:
    """Cohen's kappa between the judge and people, with ties as a third verdict; None if people were not asked."""
    labels = [(verdict(pair.p, tie_margin), pair.pair.human) for pair in pairs]
    known = [(judge, people) for judge, people in labels if people is not None]
    return pair_kappa([judge for judge, _ in known], [people for _, people in known]).to_dict() if known else None


def calibration_scores(pairs: Pairs) -> dict[str, Any]:
    """How well the probabilities match the share of right verdicts, before and after a calibration is fitted.

    ``whole`` is over all pairs. The others are over the half to which nothing was fitted: ``before``, and after a
    ``temperature`` and an ``isotonic`` curve; None if either half has fewer than `MIN_HALF` pairs.
    """
    fit, test = list[float](), list[float]()
    for pair in pairs:
        # Divided by the words of the prompt: a prompt in both halves would make the fit look better than it is.
        (fit if prompt_group(pair.pair.prompt) % 2 == 0 else test).append(pair.p)
    scores = {"whole": score([pair.p for pair in pairs]), "fitted_to": len(fit)}
    if min(len(fit), len(test)) < MIN_HALF:
        return {**scores, "before": None, "temperature": None, "isotonic": None}
    # Mirrored: each pair counts in both directions, since which answer comes first is arbitrary.
    temperature, isotonic = fit_temperature(*mirrored(fit)), fit_isotonic(*mirrored(fit))
    return {
        **scores,
        "before": score(test),
        "temperature": score(temperature(test)) | {"parameters": temperature.to_dict()},
        "isotonic": score(isotonic(test)) | {"parameters": isotonic.to_dict()},
    }


def worst_mistakes(pairs: Pairs, n: int = 6, tie_margin: float = 0.05) -> list[dict[str, Any]]:
    """The `n` pairs about which the judge was most sure and wrong, the surest first; none on which a panel split."""
    # The lower p of the better answer, the surer the judge was of the worse one.
    wrong = [pair for pair in pairs if not pair.split and verdict(pair.p, tie_margin) == "worse"]
    return [
        {
            **judged.row(),
            "prompt": [dict(message) for message in judged.pair.prompt],
            "better": judged.pair.better,
            "worse": judged.pair.worse,
        }
        for judged in sorted(wrong, key=lambda pair: pair.p)[:n]
    ]


def _agreement_by(verdicts: Sequence[tuple[str | None, float]], tie_margin: float) -> dict[str, Any]:
    names = sorted({name for name, _ in verdicts if name is not None})
    return {name: agreement_rates([p for other, p in verdicts if other == name], tie_margin) for name in names}
