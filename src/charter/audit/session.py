"""One audit, from a run's configuration to its files: the judge is asked exactly as the run would ask it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from charter.audit.judged import judge_pairs
from charter.audit.labelled import LabelledData, read_labelled
from charter.audit.record import make_record, write_record
from charter.audit.sensitivity import measure_sensitivity
from charter.config import Config
from charter.constitution import Constitution, load_constitution
from charter.core.errors import NoDataError
from charter.core.losses import Losses
from charter.inference.endpoints import connect
from charter.inference.engine import EngineSpec
from charter.inference.probe import probe
from charter.inference.server.process import serve
from charter.inference.session import Session
from charter.pipeline.counts import with_engine_stats
from charter.pipeline.judges.engines import member_identities, open_judges
from charter.pipeline.judges.kinds import check_judge, judge_of
from charter.pipeline.roles import judge_model, model_folder
from charter.pipeline.rows import OnProgress, StageContext
from charter.runs.folder import lock_run_folder
from charter.runs.preflight import check_served


def check_audit_config(config: Config) -> None:
    """Check everything that an audit needs, in seconds, before any server starts.

    Raises:
        CharterError: constitutions, labelled pairs, a model or a server cannot be used; the message says what to do.
    """
    constitution = load_constitution(config.constitution)
    check_judge(config.judge, constitution)
    _read_pairs(config, constitution)
    check_served(*judge_model(config))
    member_identities(config)


def audit_judge(config: Config, say: Callable[[str], None]) -> Path:
    """Run a whole audit without Prefect; returns the path of ``audit.json``.

    Raises:
        CharterError: what `check_audit_config` raises, or the server exited.
    """
    check_audit_config(config)
    with lock_run_folder(config.audit_folder), serve_audited_judge(config, say) as spec:
        return asyncio.run(run_audit(config, spec, Session()))


@contextlib.contextmanager
def serve_audited_judge(
    config: Config, say: Callable[[str], None], stop: threading.Event | None = None
) -> Iterator[EngineSpec]:
    """The configured judge, on the servers named for it or on vLLM started here; its log is in the audit's folder.

    Raises:
        ModelError, ServingError: it cannot be served.
    """
    model, serving = judge_model(config)
    with contextlib.ExitStack() as stack:
        if serving.base_urls:
            served = probe(connect(serving.base_urls, serving, model=model), say, stop=stop)
        else:
            # By default a model is served under its folder's name, which for the sandbox is that of a cache.
            name = "sandbox" if model == model_folder("sandbox") else None
            log = config.audit_folder / "vllm.log"
            served = stack.enter_context(serve(model, serving, log, name, say, stop=stop))
        store = str(config.audit_folder / "completions.sqlite")
        yield EngineSpec.of(served, store, config.generation.concurrency)


async def run_audit(config: Config, spec: EngineSpec, session: Session, on_progress: OnProgress | None = None) -> Path:
    """Ask about every labelled pair, compute the metrics and write the files; returns the path of ``audit.json``.

    Answers to questions that were asked before come from the store in the audit's folder.

    Raises:
        CharterError: the pairs or a constitution cannot be read, or all endpoints failed permanently.
    """
    constitution, generation = load_constitution(config.constitution), config.generation
    labelled = _read_pairs(config, constitution)
    async with open_judges(session, spec, config.judge) as engines:
        context = StageContext(
            engines.ask,
            constitution,
            config.seed,
            spec.identity,
            generation.templates,
            generation.preface,
            engines.members,
        )
        report = with_engine_stats(on_progress, engines)
        compare = judge_of(config.judge)
        judged = await judge_pairs(labelled.pairs, compare, context, config.judge, report)
        sensitivity = None
        if config.audit.sensitivity:
            pairs = [pair.pair for pair in judged.pairs]
            sensitivity = await measure_sensitivity(pairs, config.audit.sensitivity, compare, context, report)
    if not judged.pairs:
        losses = Losses()
        losses.add_failures(judged.failures)
        raise NoDataError(
            f"audit.source '{config.audit.source}': the judge judged none of {len(labelled.pairs):,} pairs, so nothing "
            f"is known about it. {losses.text()}"
        )
    record = make_record(
        labelled,
        judged,
        constitution,
        config.judge,
        {"model": spec.model_name, "identity": spec.identity},
        config.audit.source,
        seed=config.seed,
        # Data sets name models by their identifiers, so these two are likely names.
        own_names=config.audit.own_names or (spec.model_name, config.judge.model or config.model),
        member_models=member_identities(config),
        generation=generation,
        sensitivity=sensitivity,
    )
    return write_record(config.audit_folder, record, labelled, judged)


def _read_pairs(config: Config, constitution: Constitution) -> LabelledData:
    settings = config.audit
    columns = {str(name): column for name, column in settings.columns.items()}
    return read_labelled(settings.source, settings.format, constitution, settings.n, config.seed, columns)
