"""One audit, from a run's configuration to its files: the judge is asked exactly as the run would ask it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from charter.audit.judged import Judged, judge_pairs
from charter.audit.labelled import Labelled, read_labelled
from charter.audit.record import make_record, write_record
from charter.config import Config
from charter.constitution import Constitution, load_constitution
from charter.inference.endpoints import connect
from charter.inference.engine import EngineSpec
from charter.inference.server.process import serve
from charter.inference.session import Session
from charter.pipeline.counts import with_engine_stats
from charter.pipeline.judges.engines import member_identities, open_judges
from charter.pipeline.judges.kinds import check_judge, judge_of
from charter.pipeline.roles import judge_model, model_folder
from charter.pipeline.rows import OnProgress, StageContext
from charter.runs.folder import locked
from charter.runs.preflight import check_served


def check(config: Config) -> None:
    """Look at everything that an audit needs, in seconds, before anything is started.

    Raises:
        CharterError: constitutions, labelled pairs, a model or a server that cannot be used, and what to do.
    """
    law = load_constitution(config.constitution)
    check_judge(config.judge, law)
    _labelled(config, law)
    check_served(*judge_model(config))
    member_identities(config)


def audit_judge(config: Config, say: Callable[[str], None]) -> Path:
    """Check, serve, ask, measure and write, as ``flows.audit`` does on Prefect; the path of ``audit.json``.

    Raises:
        CharterError: what `check` raises, or the server died.
    """
    check(config)
    with locked(config.audit_folder), serve_judge(config, say) as spec:
        return asyncio.run(audit_pairs(config, spec, Session()))


@contextlib.contextmanager
def serve_judge(
    config: Config, say: Callable[[str], None], stop: threading.Event | None = None
) -> Iterator[EngineSpec]:
    """The configured judge, on the servers named for it or on vLLM started here; its log is in the audit's folder.

    Raises:
        ModelError, ServingError: it cannot be served.
    """
    model, serving = judge_model(config)
    with contextlib.ExitStack() as stack:
        if serving.base_urls:
            served = connect(serving.base_urls, serving)
        else:
            name = "sandbox" if model == model_folder("sandbox") else None
            log = config.audit_folder / "vllm.log"
            served = stack.enter_context(serve(model, serving, log, name, say, stop=stop))
        store = str(config.audit_folder / "completions.sqlite")
        yield EngineSpec.of(served, store, config.generation.concurrency)


async def audit_pairs(
    config: Config, spec: EngineSpec, session: Session, on_progress: OnProgress | None = None
) -> Path:
    """Ask about every labelled pair, measure, and write; the path of ``audit.json``.

    What was asked before, in the same folder, is not asked again.

    Raises:
        CharterError: the pairs or a constitution cannot be read, or the endpoints are gone for good.
    """
    law = load_constitution(config.constitution)
    labelled = _labelled(config, law)
    judged = await _ask(config, labelled, law, spec, session, on_progress)
    model = config.judge.model or config.model
    judge = {"model": spec.model_name, "identity": spec.identity}
    own = config.audit.own_names or (spec.model_name, model)
    others = member_identities(config)
    about = (judge, config.audit.source, config.seed, own, others, config.generation)
    record = make_record(labelled, judged, law, config.judge, *about)
    return write_record(config.audit_folder, record, labelled, judged)


def _labelled(config: Config, law: Constitution) -> Labelled:
    settings = config.audit
    columns = {str(name): column for name, column in settings.columns.items()}
    return read_labelled(settings.source, settings.format, law, settings.n, config.seed, columns)


async def _ask(
    config: Config,
    labelled: Labelled,
    law: Constitution,
    spec: EngineSpec,
    session: Session,
    on_progress: OnProgress | None,
) -> Judged:
    settings = config.generation
    async with open_judges(session, spec, config.judge) as engines:
        own, members = (config.seed, spec.identity, settings.templates, settings.preface), engines.members
        context = StageContext(engines.ask, law, *own, members)
        tell = with_engine_stats(on_progress, engines)
        return await judge_pairs(labelled.pairs, judge_of(config.judge), context, config.judge, tell)
