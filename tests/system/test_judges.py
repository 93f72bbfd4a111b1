"""Every judge on held-out pairs of the sandbox, on real vLLM, against the oracle."""

import asyncio
import re
from pathlib import Path

import pytest

from charter.config import Judge, Member
from charter.constitution import load_constitution
from charter.constitution.selection import select_judges
from charter.judging.kinds import judge_of
from charter.judging.labelled import LabelledPair, read_labelled
from charter.judging.panel import is_split
from charter.judging.protocol import Judgement, is_tie
from charter.serving import EngineSpec, Served, open_engine
from charter.stages.context import Context

pytestmark = [pytest.mark.system]

N = 150
LAW = load_constitution(Path("constitutions/harmless.md"))


async def judged(served: Served, store: Path, settings: Judge) -> list[tuple[LabelledPair, Judgement]]:
    """Held-out pairs, each with what the judge said of it: first and last are the worse and the better answer."""
    pairs, compare = read_labelled("sandbox", "sandbox", LAW, N).pairs, judge_of(settings)
    async with open_engine(EngineSpec.of(served, str(store / "store.sqlite"))) as engine:
        context = Context(engine.ask, LAW, 0, served.identity)

        async def ask(pair: LabelledPair) -> Judgement:
            principles = select_judges(LAW, pair.row_id, 0, pair.bearing or (), settings.principles)
            return await compare(pair.prompt, pair.worse, pair.better, principles, context)

        return list(zip(pairs, await asyncio.gather(*map(ask, pairs)), strict=True))


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
    found = [
        (pair.kind, is_split(made.by_member, 0.05)) for pair, made in await judged(sandbox_server, tmp_path, settings)
    ]
    on_privacy = [split for kind, split in found if kind == "privacy"]
    elsewhere = [split for kind, split in found if kind != "privacy"]
    assert sum(on_privacy) >= 0.8 * len(on_privacy) > 0, f"{sum(on_privacy)} of {len(on_privacy)}"
    assert sum(elsewhere) <= 0.05 * len(elsewhere), f"{sum(elsewhere)} of {len(elsewhere)}"
