"""What further principles cost: the tokens that an engine with a prefix cache has to compute.

`benchmarks/principles_cost.py` measures the same on vLLM; this keeps the templates from losing it.
"""

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer

from charter.audit.judged import judge_pairs
from charter.audit.labelled import LabelledPair, read_labelled
from charter.config import Judge
from charter.constitution import load_constitution
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.rows import StageContext
from charter.sandbox import MODEL
from charter.testing.scripted import ScriptedModel

LAW = load_constitution(Path(__file__).parents[4] / "constitutions" / "harmless.md")
BLOCK = 32
"""Tokens in a block of the cache."""


async def asked(pairs: Sequence[LabelledPair], principles: int) -> list[list[int]]:
    """The tokens of every question about the pairs."""
    model, settings = ScriptedModel(lambda messages, sampling: 0.5), Judge(principles=principles)
    said = await judge_pairs(pairs, judge_of(settings), StageContext(model.ask, LAW, 0, "m"), settings)
    assert len(said.pairs) == len(pairs)
    tokenizer = AutoTokenizer.from_pretrained(str(MODEL))
    shown = ([dict(message) for message in messages] for messages, _ in model.asked)
    return [tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=False) for one in shown]


def computed(questions: Sequence[Sequence[int]]) -> int:
    """Tokens that no earlier question began with, in whole blocks; the last one is always computed."""
    known, total = set[tuple[int, ...]](), 0
    for tokens in questions:
        prefixes = [tuple(tokens[:end]) for end in range(BLOCK, len(tokens) + 1, BLOCK)]
        usable = [prefix for prefix in prefixes if len(prefix) < len(tokens) and prefix in known]
        total += len(tokens) - max(map(len, usable), default=0)
        known.update(prefixes)
    return total


async def test_eight_principles_in_both_orders_cost_at_most_two_and_a_half_times_one(shared_data: Path) -> None:
    data = shared_data / "hh_rlhf_harmless_test.jsonl.gz"
    pairs = read_labelled(str(data), "auto", LAW, 60).pairs
    one, eight = await asked(pairs, 1), await asked(pairs, 8)
    assert (len(one), len(eight)) == (60 * 2, 60 * 2 * 8)
    assert sum(map(len, eight)) > 7 * sum(map(len, one))
    assert computed(eight) <= 2.5 * computed(one), computed(eight) / computed(one)
