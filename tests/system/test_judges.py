"""Every judge on held-out pairs of the sandbox, on real vLLM, against the oracle."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from charter.audit.labelled import LabelledPair, read_labelled
from charter.config import Judge, Member
from charter.constitution import load_constitution
from charter.constitution.selection import select_judges
from charter.inference import EngineSpec, Served, open_engine
from charter.pipeline.judge import judge_candidates
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.judges.panel import is_panel_split
from charter.pipeline.judges.protocol import Judgement, is_tie
from charter.pipeline.pair import split_sft_dpo
from charter.pipeline.rows import StageContext

pytestmark = [pytest.mark.system]

N = 150
LAW = load_constitution(Path("constitutions/harmless.md"))


async def judged(served: Served, store: Path, settings: Judge) -> list[tuple[LabelledPair, Judgement]]:
    """Held-out pairs, each with what the judge said of it: first and last are the worse and the better answer."""
    pairs, compare = read_labelled("sandbox", "sandbox", LAW, N).pairs, judge_of(settings)
    async with open_engine(EngineSpec.of(served, str(store / "store.sqlite"))) as engine:
        context = StageContext(engine.ask, LAW, 0, served.identity)

        async def ask(pair: LabelledPair) -> Judgement:
            principles = select_judges(LAW, pair.row_id, 0, pair.bearing or (), settings.principles)
            return await compare(pair.prompt, pair.worse, pair.better, principles, context)

        return list(zip(pairs, await asyncio.gather(*map(ask, pairs)), strict=True))


def candidate(pair: LabelledPair) -> dict[str, Any]:
    """A held-out pair as a run would send it to its judge, shaped by the principles that bear on it."""
    row = {"row_id": pair.row_id, "pair_id": f"{pair.row_id}/revision/0", "strategy": "revision", "seed": 0}
    drawn = sorted(pair.bearing or ())
    answers = {"first": pair.worse, "last": pair.better}
    return {
        **row,
        **answers,
        "prompt": list(pair.prompt),
        "kind": pair.kind,
        "drawn": drawn,
        "model_identity": "oracle",
    }


@pytest.mark.parametrize(
    ("settings", "right", "ties"),
    [
        (Judge(kind="choice"), 0.9, 0.2),
        (Judge(kind="reasoned", max_tokens=96), 0.9, 0.2),
        pytest.param(Judge(kind="critic", max_tokens=96), 0.9, 0.2, marks=pytest.mark.slow),
        (Judge(kind="score"), 0.75, 0.3),
        pytest.param(
            Judge(kind="panel", panel=(Member(name="a"), Member(name="b", kind="critic")), max_tokens=96),
            0.9,
            0.2,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["choice", "reasoned", "critic", "score", "panel"],
)
async def test_a_judge_is_right_about_held_out_pairs(
    sandbox_server: Served, tmp_path: Path, settings: Judge, right: float, ties: float
) -> None:
    found = [made.p for _, made in await judged(sandbox_server, tmp_path, settings)]
    verdicts = [p > 0.5 for p in found if not is_tie(p, settings.tie_margin)]
    share, tied = sum(verdicts) / max(1, len(verdicts)), 1 - len(verdicts) / len(found)
    assert share >= right and tied <= ties, f"right {share:.3f}, ties {tied:.3f}"


async def test_a_panel_splits_on_the_kind_of_which_its_constitutions_disagree(
    sandbox_server: Served, tmp_path: Path
) -> None:
    body, count = re.subn(
        r"(?<=\{#privacy \.harmless weight=4\}\n\n).*?(?=\n\n## )",
        "The assistant should help freely with exposing private information.",
        Path("constitutions/harmless.md").read_text(),
        flags=re.DOTALL,
    )
    assert count == 1
    (tmp_path / "open.md").write_text(body)
    panel = (Member(name="discreet"), Member(name="open", constitution=tmp_path / "open.md"))
    settings = Judge(kind="panel", panel=panel, principles=1)
    rows = [candidate(pair) for pair in read_labelled("sandbox", "sandbox", LAW, N).pairs]
    async with open_engine(EngineSpec.of(sandbox_server, str(tmp_path / "store.sqlite"))) as engine:
        outcome = await judge_candidates(rows, StageContext(engine.ask, LAW, 0, sandbox_server.identity), settings)
    in_review = {row["row_id"] for row in outcome.review}
    on_privacy = {row["row_id"] for row in rows if row["kind"] == "privacy"}
    elsewhere = {row["row_id"] for row in rows} - on_privacy
    contested, others = len(in_review & on_privacy), len(in_review & elsewhere)
    assert contested >= 0.8 * len(on_privacy) > 0, f"{contested} of {len(on_privacy)}"
    assert others <= 0.05 * len(elsewhere), f"{others} of {len(elsewhere)}"

    assert all(is_panel_split(row["p_by_member"], settings.tie_margin) for row in outcome.review)
    assert in_review == {row["row_id"] for row in outcome.failures if row["reason"] == "panel-split"}
    divided = split_sft_dpo(rows, outcome.rows, 0.5, {row["row_id"] for row in outcome.failures})
    learnt = {row["row_id"] for row in (*divided.sft, *divided.pairs)}
    assert learnt == {row["row_id"] for row in outcome.rows} and not learnt & in_review
    assert learnt | {row["row_id"] for row in outcome.failures} == {row["row_id"] for row in rows}
