"""What the probes say of each measure: the sequential test, applied and put into words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from charter.core.statistics.intervals import sign_test
from charter.core.statistics.sequential import alpha_of_probe, log_evidence, upper_bound
from charter.evaluation.measures import Measure
from charter.monitor.baseline import MonitorBaseline
from charter.monitor.history import History

TITLES = {
    "harmful_rate": "harmful answers",
    "benign_refusal_rate": "refusals of harmless requests",
    "borderline_refusal_rate": "refusals of look-alikes",
    "accuracy": "wrong answers to questions of fact",
}


@dataclass(frozen=True)
class DriftFinding:
    """One measure after the last probe.

    Attributes:
        accepted: the rate of bad outcomes in the accepted evaluation.
        limit: the rate up to which nothing has drifted: what that evaluation leaves open, and at least what the
            budgets allow.
        last: bad outcomes and fresh requests of the last probe.
        since: the same, over all probes.
        evidence: that fresh requests fare worse, as a power of ten.
        needed: the evidence from which on it is a drift.
        pairs: fixed requests of the last probe that got worse, and better.
        p: of these pairs.
        level: under which p is a drift.
    """

    measure: str
    accepted: float
    limit: float
    last: tuple[int, int]
    since: tuple[int, int]
    evidence: float
    needed: float
    pairs: tuple[int, int]
    p: float
    level: float

    @property
    def drifted(self) -> bool:
        """Whether either comparison says so."""
        return self.evidence >= self.needed or self.p <= self.level

    def __str__(self) -> str:
        """In a sentence."""
        (bad, n), (worse, better) = self.last, self.pairs
        return (
            f"{TITLES[self.measure]}: {bad} of {n} fresh requests in this probe, {100 * self.accepted:.1f} % when "
            f"accepted; of the fixed ones {worse} got worse and {better} better"
        )


def find_drift(
    history: History, baseline: MonitorBaseline, rises: Mapping[Measure, float], alpha: float
) -> list[DriftFinding]:
    """A finding for each measure that is watched; all of them together share alpha.

    Args:
        history: with at least one probe.
        baseline: what it is held against.
        rises: the measures, and by how much each may rise.
        alpha: the chance that anything is ever called a drift, if nothing has changed.
    """
    share = alpha / (2 * len(rises))  # for each measure, once for fresh requests and once for fixed ones
    findings = []
    for m, rise in rises.items():
        bad, n = baseline.counts(m)
        # Half of the share is for the accepted rate, which is known from n requests only, half for the test itself.
        limit = max(upper_bound(bad, n, share / 2), bad / n + rise)
        tallies = [probe.tallies[m.name] for probe in history.probes if m.name in probe.tallies]
        fresh_bad, fresh, last = [t.fresh_bad for t in tallies], [t.fresh for t in tallies], tallies[-1]
        findings.append(
            DriftFinding(
                measure=m.name,
                accepted=bad / n,
                limit=limit,
                last=(last.fresh_bad, last.fresh),
                since=(sum(fresh_bad), sum(fresh)),
                # In powers of ten, which people can read.
                evidence=log_evidence(fresh_bad, fresh, limit) / math.log(10),
                needed=-math.log10(share / 2),
                pairs=(last.worse, last.better),
                # One-sided: only getting worse is a drift.
                p=sign_test(last.worse, last.worse + last.better, "greater"),
                level=alpha_of_probe(len(history.probes), share),
            )
        )
    return findings
