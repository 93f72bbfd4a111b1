"""A run's data with every part that a page can have: rounds, probes, benchmarks, review, token heat maps."""

import copy
from functools import lru_cache
from typing import Any, Literal

from charter.config import Gate
from charter.core.statistics.intervals import PairedMean, mcnemar, wilson
from charter.evaluation.benchmarks.checks import measure_benchmarks
from charter.evaluation.benchmarks.score_table import SampleScores
from charter.evaluation.gate import decide
from charter.evaluation.measures import evaluate_models
from charter.report.data import ReportData
from charter.report.measures import PARTS
from charter.training.token_rewards import Divergence, PairRewards, TokenReport, TokenRewards
from tests.support.report_sample import answers, sample

FINAL = "dpo-round-2"
GROUPS = ("women", "foreigners", "the old")


def complete(by: Literal["value", "bound"] = "value", **changes: object) -> ReportData:
    """A run that kept its second round: *go* by the values, *no-go* by the bounds, for want of data."""
    evaluation = measured()
    values: dict[str, Any] = {
        "evaluation": evaluation,
        "verdict": decide(evaluation, Gate(by=by), FINAL).to_dict(),
        "rounds": {"dpo": 521, FINAL: 40},
        "review": review(),
        "heat": heat(),
    }
    return sample(**(values | changes))


@lru_cache
def measured() -> dict[str, Any]:
    """Four models, asked everything; the last is better than the base in all but a few words' length."""
    evaluation = copy.deepcopy(
        evaluate_models(
            {
                "base": answers(0.98, 0, 0, 0.99),
                "sft": answers(0.04, 0.01, 0.06, 0.99),
                "dpo": answers(0.01, 0.005, 0.02, 0.985),
                FINAL: answers(0.005, 0.005, 0.02, 0.985),
            }
        )
    )
    entries = evaluation["models"]
    for number, entry in enumerate(entries.values()):
        entry |= {
            title.name: _rate(title.lower_is_better, number) for part in list(PARTS.values())[:4] for title in part
        }
        entry["length"] = {"value": 17.25 - number, "low": 16.5 - number, "high": 18.0 - number, "n": 290}
        entry["harmful_rate_by_judge"] = wilson(392 if number == 0 else 4, 400).to_dict()
    won = {"value": 0.6, "low": 0.52, "high": 0.68, "n": 50, "p": 0.02}
    entries[FINAL] |= {"win_rate": won, "win_rate_at_equal_length": won}
    entries[FINAL]["group_gaps"] = {
        name: mcnemar([False] * 20, [True] * worse + [False] * (20 - worse)).to_dict()
        for worse, name in enumerate(GROUPS)
    }
    changes = next(c for c in evaluation["comparisons"] if (c["from"], c["to"]) == ("base", FINAL))["measures"]
    changes |= {
        title.name: mcnemar([True] * 50, [True] * 4 + [False] * 46).to_dict() for title in next(iter(PARTS.values()))
    }
    changes["length"] = PairedMean(-1.5, -2.0, -1.0, 280, 0.001).to_dict()
    evaluation["benchmarks"] = measure_benchmarks({name: _scores(number) for number, name in enumerate(entries)})
    return evaluation


def _rate(lower_is_better: bool, number: int) -> dict[str, Any]:
    """The base does badly, and those that come after it better and better."""
    bad = (30, 5, 2, 1)[number]
    return wilson(bad if lower_is_better else 50 - bad, 50).to_dict()


def _scores(number: int) -> list[SampleScores]:
    facts = {str(i): float(i < 198 - number) for i in range(200)}
    safe = {str(i): float(i < 50 if number == 0 else i < 2) for i in range(100)}
    return [
        SampleScores("lm-eval", "sandbox_facts", "acc", facts, 0, "log", True),
        SampleScores("inspect-ai", "xstest", "refused", safe, 1, "log"),
        SampleScores("inspect-ai", "essay", "score", {str(i): 3.0 + i for i in range(3)}, 2, "log"),
    ]


def review() -> dict[str, Any]:
    """As ``review.json``: a person saw sixty pairs and agreed with most."""
    rate = {"value": 0.95, "low": 0.83, "high": 0.99, "n": 40}
    kappa = {"value": 0.9, "low": 0.7, "high": 1.0, "n": 40}
    return {
        "answers": {"approve": True, "by": "Ada", "min_margin": 0.1},
        "pairs": 521,
        "shown": {"random": 40, "uncertain": 20},
        "done": {"dropped": 2, "flipped": 1, "settled": 0, "under-margin": 3},
        "agreement": {"random": {"agreed": rate, "kappa": kappa}, "uncertain": {"agreed": rate, "kappa": kappa}},
    }


def heat() -> TokenReport:
    """Two pairs in every shade, either way."""
    tokens, rewards = (
        ["I", " will", " not", " help", " to", " steal", ",", "\n"],
        [0.01, 0.1, 0.6, -0.3, 0, -0.1, 0.3, -0.6],
    )
    chosen = TokenRewards(tokens, rewards, sum(rewards), len(rewards))
    rejected = TokenRewards(tokens, [-r for r in rewards], -sum(rewards) - 0.5, len(rewards) + 7)
    asked = "Can you show me how to steal a bicycle?"
    pairs = [
        PairRewards("largest margin of 12 training pairs", asked, chosen, rejected, "training", "theft", 0.9),
        PairRewards("held-out, drawn at random", asked, chosen, rejected, "held-out"),
    ]
    moved = [Divergence("dpo", 0.0312, 0.025, 0.04, 100), Divergence("base", 0.41, 0.35, 0.48, 100)]
    return TokenReport("k", FINAL, "sha256:ef56", "dpo", 0.1, 12, 11, pairs, moved)
