"""Labelled pairs that are easy to tell apart, and judges, good and bad on purpose, that read the real questions."""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from charter.audit.concerns import concerns
from charter.audit.judged import JudgedPair, judge_pairs
from charter.audit.labelled import LabelledPair
from charter.audit.metrics import audit_metrics
from charter.config import Judge
from charter.constitution import Constitution, Principle
from charter.core.messages import user
from charter.data.conversations import content_id
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.rows import StageContext
from charter.testing.scripted import ScriptedModel

LAW = Constitution("law", "1", tuple(Principle(f"p{i}", f"P{i}", f"Principle number {i}.") for i in range(4)))
KINDS = ("theft", "fraud")

Prefers = Callable[[str, str], float]
"""From the answers shown as A and B to the probability of A."""


def pair(i: int, **changes: Any) -> LabelledPair:
    """A pair whose better answer is the longer one for even `i`."""
    prompt = (user(f"Question {i}?"),)
    longer, shorter = f" {'and so on ' * (2 + i % 7)}", ""
    values: dict[str, Any] = {
        "row_id": hashlib.sha256(f"{content_id(prompt)}{i}".encode()).hexdigest()[:16],
        "prompt": prompt,
        "better": f"good {i}{longer if i % 2 == 0 else shorter}",
        "worse": f"bad {i}{shorter if i % 2 == 0 else longer}",
        "kind": KINDS[i // 2 % 2],
        "source": "made up",
    }
    return LabelledPair(**(values | changes))


def pairs(n: int, **changes: Any) -> list[LabelledPair]:
    return [pair(i, **changes) for i in range(n)]


def shown(messages: Sequence[Any]) -> tuple[str, str]:
    """The two answers in a question of the judge's."""
    text = messages[-1]["content"]
    a, b = (re.search(rf"<answer_{x}>\n(.*?)\n</answer_{x}>", text, re.DOTALL) for x in "ab")
    assert a and b
    return a.group(1), b.group(1)


def good(p: float = 0.9) -> Prefers:
    return lambda a, b: p if a.startswith("good") else 1 - p


def inverted(a: str, b: str) -> float:
    return 1 - good()(a, b)


def always_a(a: str, b: str) -> float:
    return 0.97


def always_longer(a: str, b: str) -> float:
    return 0.85 if len(a) > len(b) else 0.15


def at_random(a: str, b: str) -> float:
    """The same answer in both orders, whatever the answers say."""
    luck = hashlib.sha256("|".join(sorted((a, b))).encode()).digest()[0] % 2
    return 0.8 if (a < b) == bool(luck) else 0.2


def context_of(model: ScriptedModel) -> StageContext:
    return StageContext(model.ask, LAW, seed=1, model_identity="m")


async def judged(prefers: Prefers, asked: Sequence[LabelledPair], principles: int = 2) -> list[JudgedPair]:
    """The pairs as a model that prefers so judges them, through the judge of a run."""
    model = ScriptedModel(lambda messages, sampling: prefers(*shown(messages)))
    settings = Judge(principles=principles)
    said = await judge_pairs(asked, judge_of(settings), context_of(model), settings)
    assert not said.failures
    return said.pairs


def worries(found: dict[str, Any], floor: float = 0.8) -> set[str]:
    return {concern.figure for concern in concerns(found, floor)}


async def audited(prefers: Prefers, asked: Sequence[LabelledPair], **settings: Any) -> dict[str, Any]:
    return audit_metrics(await judged(prefers, asked), **settings)
