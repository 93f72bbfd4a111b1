"""What further principles cost a judge: prompt tokens computed under one principle and under eight, on real vLLM.

    python benchmarks/principles_cost.py
    python benchmarks/principles_cost.py --data PATH/hh_rlhf_harmless_test.jsonl.gz --n 50

The sandbox's model judges the same pairs in both orders, on a fresh server each time, so that neither finds the other's
prefixes. Computed are the prompt tokens that the prefix cache did not have, by the server's own metrics. All questions
about a pair have everything but the principle in common, so that eight principles should cost little more than one:
at most 2.5 times as much.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

from charter.audit.judged import judge_pairs
from charter.audit.labelled import LabelledPair, read_labelled
from charter.config import Judge, Serving
from charter.constitution import Constitution, load_constitution
from charter.core.errors import CharterError
from charter.inference import EngineSpec, open_engine, serve, server_metrics
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.rows import StageContext
from charter.sandbox import MODEL

ROOT = Path(__file__).parents[1]
FEW, MANY = 1, 8
WANTED = 2.5


class Cost(NamedTuple):
    """What one way of judging cost; tokens are of prompts."""

    principles: int
    calls: int
    failed: int
    tokens: int
    cached: int

    @property
    def computed(self) -> int:
        """Tokens that were not in the prefix cache."""
        return self.tokens - self.cached


async def judged(spec: EngineSpec, pairs: tuple[LabelledPair, ...], law: Constitution, settings: Judge) -> Cost:
    """Judge all pairs, and read what the server counted meanwhile."""
    before = await server_metrics(spec.base_urls[0])
    async with open_engine(spec) as engine:
        context = StageContext(engine.ask, law, 0, spec.identity)
        said = await judge_pairs(pairs, judge_of(settings), context, settings)
        calls = engine.stats.asked
    after = await server_metrics(spec.base_urls[0])
    tokens, cached = (getattr(after, name) - getattr(before, name) for name in ("prompt_tokens", "prefix_cache_hits"))
    return Cost(settings.principles, calls, len(said.failures), tokens, cached)


def cost(principles: int, pairs: tuple[LabelledPair, ...], law: Constitution, serving: Serving) -> Cost:
    """On a server of its own."""
    with tempfile.TemporaryDirectory() as folder, serve(MODEL, serving, Path(folder) / "vllm.log", "sandbox") as served:
        spec = EngineSpec.of(served, str(Path(folder) / "store.sqlite"))
        return asyncio.run(judged(spec, pairs, law, Judge(principles=principles)))


def table(costs: list[Cost], n: int) -> str:
    """Markdown: tokens of all prompts, and what of them was computed, in all and for each pair."""
    lines = ["| principles | calls | prompt tokens | computed | computed per pair | failed |", "|---:" * 6 + "|"]
    lines += [
        f"| {c.principles} | {c.calls:,} | {c.tokens:,} | {c.computed:,} | {c.computed / n:.0f} | {c.failed} |"
        for c in costs
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Prompt tokens computed under one principle and under eight.")
    parser.add_argument("--n", type=int, default=200, help="how many pairs")
    parser.add_argument("--data", default="sandbox", help="a file of labelled pairs, or sandbox")
    parser.add_argument("--constitution", type=Path, default=ROOT / "constitutions" / "harmless.md")
    parser.add_argument("--block-size", type=int, help="tokens in a block of the cache; Charter's own when left out")
    given = parser.parse_args()
    law = load_constitution(given.constitution)
    if len(law.principles) < MANY:
        parser.error(f"--constitution '{given.constitution}': has fewer than {MANY} principles. Name another.")
    pairs = read_labelled(given.data, "auto", law, given.n).pairs
    block = () if given.block_size is None else ("--block-size", str(given.block_size))
    costs = [cost(principles, pairs, law, Serving(extra_args=block)) for principles in (FEW, MANY)]
    ratio = costs[1].computed / costs[0].computed
    print(table(costs, len(pairs)))
    print(f"\nEight principles cost {ratio:.2f} times as much as one; at most {WANTED} is wanted.")


if __name__ == "__main__":
    try:
        main()
    except CharterError as error:
        raise SystemExit(str(error)) from None
