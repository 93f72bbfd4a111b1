"""One audit from its settings to its files; the judge is served here, or runs already."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charter.config import Judge, Selection, Serving
from charter.constitution import Constitution, eligible, load_constitution
from charter.judging.judged import Judged, judge_pairs
from charter.judging.kinds import judge_of
from charter.judging.labelled import Labelled, read_labelled
from charter.judging.layouts import Format
from charter.judging.record import make_record, write_record
from charter.run import model_folder
from charter.serving.endpoints import Served, connect
from charter.serving.engine import EngineSpec, open_engine
from charter.serving.process import serve
from charter.stages.context import Context


@dataclass(frozen=True)
class AuditPlan:
    """Which judge is audited, on what.

    Attributes:
        out: the folder for all files of the audit, the store of completions among them.
        data: a file of labelled pairs, or ``sandbox``.
        columns: the file's names for what a pair has, where they differ.
        settings: the judge's; `settings.min_agreement` is the floor.
        own: names under which the judge's answers may stand in the data; the model's own names when empty.
    """

    out: Path
    data: str = "sandbox"
    format: Format = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    constitution: Path = Path("constitutions/harmless.md")
    model: str = "sandbox"
    serving: Serving = field(default_factory=Serving)
    settings: Judge = field(default_factory=Judge)
    n: int = 400
    seed: int = 0
    own: tuple[str, ...] = ()


def audit_judge(plan: AuditPlan, say: Callable[[str], None]) -> tuple[dict[str, Any], Path]:
    """Read, ask, measure and write; the record and the path of ``audit.json``.

    What was asked before, in the same folder, is not asked again.

    Raises:
        CharterError: the data, the constitution, the model or a server cannot be used.
    """
    law = load_constitution(plan.constitution)
    eligible(law, Selection(tags=plan.settings.tags))
    labelled = read_labelled(plan.data, plan.format, law, plan.n, plan.seed, plan.columns)
    say(f"{len(labelled.pairs)} labelled pairs from {plan.data}, {len(labelled.rejects)} rows not usable")
    plan.out.mkdir(parents=True, exist_ok=True)
    with _served(plan, say) as served:
        judged = asyncio.run(_ask(plan, labelled, law, served))
    judge = {"model": served.model_name, "identity": served.identity}
    own = plan.own or (served.model_name, plan.model)
    record = make_record(labelled, judged, law, plan.settings, judge, plan.data, plan.seed, own)
    return record, write_record(plan.out, record, labelled, judged)


@contextlib.contextmanager
def _served(plan: AuditPlan, say: Callable[[str], None]) -> Iterator[Served]:
    if plan.serving.base_urls:
        yield connect(plan.serving.base_urls, plan.serving)
        return
    name = "sandbox" if plan.model == "sandbox" else None
    with serve(model_folder(plan.model), plan.serving, plan.out / "vllm.log", name, say) as served:
        yield served


async def _ask(plan: AuditPlan, labelled: Labelled, law: Constitution, served: Served) -> Judged:
    async with open_engine(EngineSpec.of(served, str(plan.out / "completions.sqlite"))) as engine:
        context = Context(engine.ask, law, plan.seed, served.identity)
        return await judge_pairs(labelled.pairs, judge_of(plan.settings), context, plan.settings)
