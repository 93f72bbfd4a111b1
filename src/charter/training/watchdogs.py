"""What goes wrong in training, and how it shows. Each watchdog returns a warning with what to do, or None.

Those of the data are called once, before training; those of the metrics after every optimiser step, with all lines of
``metrics.jsonl`` so far. `charter.training.watch` decides whether a warning stops the run.
"""

import math
from collections.abc import Sequence
from typing import Any

from charter.training.rows import Dropped, Rows

Line = dict[str, Any]

FIRST_LOSS = math.log(2)
"""The DPO loss before the first step, when policy and reference are the same model: -log ½ for any label."""

_SAME_NATS, _SAME_NATS_ROUNDED = 0.1, 2.0
"""How far the mean log p of answers may be from the reference's if both are the same model. In bfloat16 each token's
log p is off by some hundredths, as the reference is computed in other batches; another model is off by tens."""

_WINDOW = 10
_FALL_NATS = 5.0
_LONG_SHARE = 0.1
_PERFECT_PAIRS = 256
_WARMUP_STEPS = 2
"""Steps whose loss is still that of the initial model, as the learning rate rises from 0."""

_LEAST_MARGIN = 0.01
"""The reward margin of a model that prefers the better answer with a probability of 0.5025."""

_DRIFT = 2.0
_MISSING_SHARE = 0.5


def detect_long_rows(rows: Rows, step: str, max_length: int) -> str | None:
    """More than a tenth of the rows is too long, so that the model learns from short ones only."""
    n, total = rows.reasons.get("too-long", 0), len(rows.kept) + len(rows.dropped)
    if n <= _LONG_SHARE * total:
        return None
    what = "prompts are met" if step == "grpo" else "answers are learnt"
    return (
        f"{n} of {total} rows ({n / total:.0%}) are over {max_length} tokens and are left out, so that only short"
        f" {what}. Raise training.{step}.max_length."
    )


def detect_no_end(rows: Rows) -> str | None:
    """Some answers have no end-of-turn token, which the model would learn to leave out."""
    missing = [row for row in rows.dropped if row.reason == "no-end-token"]
    if not missing:
        return None
    return (
        f"{_count(missing, rows)} have no end-of-turn token and are left out: a model that learns from them never"
        " stops. Fix the chat template, so that it ends every assistant turn, or name its end in eos_token."
    )


def detect_altered(rows: Rows) -> str | None:
    """The chat template or the tokenizer changes the text."""
    if not rows.altered:
        return None
    return (
        f"{_count(rows.altered, rows)} are changed by the chat template and the tokenizer, so"
        f" that the model learns other text than the data contains; {rows.altered[0].row_id}: {rows.altered[0].detail}."
        " Fix chat_template.jinja in the model's folder."
    )


def detect_first_loss(lines: Sequence[Line], beta: float, rounded: bool = False) -> str | None:
    """The reference is not the model that training starts from.

    Args:
        lines: of ``metrics.jsonl``.
        beta: rewards are log-probabilities multiplied by it; the bound is on log-probabilities.
        rounded: whether the model computes in bfloat16.
    """
    first = first_loss(lines)
    if first is None:
        return None
    nats = max(abs(lines[0][name]) / beta for name in ("rewards/chosen", "rewards/margins"))
    if nats <= (_SAME_NATS_ROUNDED if rounded else _SAME_NATS):
        return None
    return (
        f"the first preference loss is {first:.4f}, not {FIRST_LOSS:.4f}: the reference is not the model that training"
        f" starts from, as answers are {nats:.1f} nats from their reference before the first step. Check that the"
        " model's folder is complete, and delete reference.parquet in the step's folder."
    )


def first_loss(lines: Sequence[Line]) -> float | None:
    """The sigmoid loss of the first step, for any loss in use; None if it is not known."""
    if not lines or lines[0]["step"] != 1 or "rewards/margins" not in lines[0]:
        return None
    return math.log1p(math.exp(-lines[0]["rewards/margins"]))


def detect_leak(lines: Sequence[Line], pairs_per_step: int) -> str | None:
    """Every pair is ranked right from the first update on: chosen and rejected differ in something trivial.

    A small set of pairs, such as the demo's, may be ranked right from the start, so only a long series counts.
    """
    needed = math.ceil(_PERFECT_PAIRS / pairs_per_step)
    shares = (line.get("rewards/accuracies", line.get("accuracy")) for line in lines[: _WARMUP_STEPS + 1 + needed])
    perfect = [share == 1.0 for share in shares]
    first = next((i for i, yes in enumerate(perfect[: _WARMUP_STEPS + 1]) if yes), None)
    if first is None or len(perfect) < first + needed or not all(perfect[first : first + needed]):
        return None
    return (
        f"{needed * pairs_per_step} pairs from step {lines[first]['step']} on are all ranked right: chosen and rejected"
        " answers can be distinguished without reading them (a phrase, a mark, a format), or the model has seen these"
        " pairs. Read a few of them, and compare models on requests of another kind."
    )


def detect_falling_likelihood(lines: Sequence[Line], least: int = _WINDOW) -> str | None:
    """Likelihood displacement (arXiv 2410.08847): the chosen answers themselves become less likely."""
    changes = [line["logps/chosen_change"] for line in lines[-_WINDOW:] if "logps/chosen_change" in line]
    if len(changes) < least or not sum(changes) / len(changes) < -_FALL_NATS:
        return None
    return (
        f"log p(chosen) fell by {-sum(changes) / len(changes):.1f} nats per answer from its reference: likelihood"
        " displacement. Raise training.dpo.sft_weight, or lower training.dpo.learning_rate."
    )


def detect_nothing_learnt(lines: Sequence[Line]) -> str | None:
    """DPO ended where it started; a step's margin is measured before the step."""
    later = lines[len(lines) // 2 :][-_WINDOW:]
    margins = [line["rewards/margins"] for line in later if "rewards/margins" in line]
    if not margins or (margin := sum(margins) / len(margins)) >= _LEAST_MARGIN:
        return None
    steps, moving = len(lines), sum(line.get("learning_rate", 0.0) > 0 for line in lines)
    return (
        f"at the end the reward margin between chosen and rejected answers is {margin:.4f}, after {steps}"
        f" optimiser step(s), {moving} of which had a learning rate above 0 (it rises from 0): nothing shows that the"
        " model learnt the preference. Give it more pairs, lower training.dpo.batch_size for more steps, or raise"
        " training.dpo.epochs or training.dpo.learning_rate."
    )


def detect_length_drift(lines: Sequence[Line]) -> str | None:
    """The model's own answers have become much longer or shorter than before training (arXiv 2403.19159)."""
    now, before = (lines[-1].get("lengths/answer"), lines[0].get("lengths/start")) if lines else (None, None)
    if now is None or before is None or 1 / _DRIFT <= now / before <= _DRIFT:
        return None
    how = "longer" if now > before else "shorter"
    return (
        f"the model's answers became {how}: from {before:.0f} tokens to {now:.0f}, on prompts it is trained on."
        " Set training.dpo.length_normalised, lower training.dpo.learning_rate, or balance the lengths of the pairs."
    )


def detect_no_difference(lines: Sequence[Line]) -> str | None:
    """All answers to a prompt have the same reward, so that nothing is learnt."""
    shares = [line["rewards/alike"] for line in lines[-_WINDOW:] if "rewards/alike" in line]
    if len(shares) < _WINDOW or min(shares) < 1:
        return None
    return (
        f"for {_WINDOW} steps all answers to the same prompt have had the same reward, so that nothing is learnt: the"
        " model gives the same answer each time, or the reward does not distinguish its answers. Raise"
        " training.grpo.temperature or training.grpo.group, or choose another training.grpo.reward."
    )


def detect_missing_rewards(lines: Sequence[Line]) -> str | None:
    """Most answers have no reward."""
    shares = [line["rewards/missing"] for line in lines[-_WINDOW:] if "rewards/missing" in line]
    if len(shares) < _WINDOW or sum(shares) / _WINDOW <= _MISSING_SHARE:
        return None
    return (
        f"{sum(shares) / _WINDOW:.0%} of the answers of {_WINDOW} steps have no reward; training.log counts the"
        " reasons. Raise training.grpo.max_tokens if they are cut off; else look at the judge."
    )


def _count(dropped: Sequence[Dropped], rows: Rows) -> str:
    return f"{len(dropped)} of {len(rows.kept) + len(rows.dropped)} rows"
