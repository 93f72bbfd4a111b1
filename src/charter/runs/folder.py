"""A run and its folder: everything a flow does, one function per step, without Prefect.

Each step reads what the step before it left in the folder and leaves its own files there. Completions
come through the store, so that doing a step again asks only for what is missing: no step needs to
know whether it was interrupted.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from charter.config import Config, Judge, Member, load_config
from charter.constitution import Constitution, load_constitution
from charter.constitution.write import write_constitution
from charter.core import files
from charter.core.errors import ConfigError
from charter.data.schema import SCHEMAS
from charter.data.shards import Shards, count_rows, read_rows, shard_files, write_rows
from charter.data.sources import Prompt, open_source
from charter.inference.engine import Engine, EngineSpec, open_engine
from charter.inference.limiter import CALL_PRIORITY
from charter.pipeline.balance import REASONS, Weighed, leaving, weigh
from charter.pipeline.counts import StageCount, count_rows_of, telling
from charter.pipeline.judges.engines import open_bench
from charter.pipeline.label import label
from charter.pipeline.pair import walked_rows
from charter.pipeline.respond import respond, sample
from charter.pipeline.revise import revise
from charter.pipeline.rows import Context, OnProgress, Outcome, failure
from charter.pipeline.strategies import Material, Plan, gather, wanted_samples

STAGE_FOLDERS = tuple(SCHEMAS)
AUDIT = "judge-audit.json"
"""The judge's audit, as it was when the run began: by it labels are calibrated, and of it the report tells."""
ROUNDS = "rounds"
"""The folder of the rounds after the first; each is laid out like a run's, see `charter.runs.rounds`."""
RESULTS = (
    "manifest.json",
    "evaluation.json",
    "gate.json",
    "report.html",
    "report.json",
    "MODEL_CARD.md",
    "DATASET_CARD.md",
    "review.md",
    "review.json",
    "waiting.json",
)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the lock goes with the process, however it ends.

    Raises:
        ConfigError: a run works in it already, or it is on no disk.
    """
    if not isinstance(folder, Path):
        raise ConfigError(
            f"outputs '{folder.parent}': only the flow dataset works there, since the others train or keep files that "
            f"change. Make the data with it, then run flows.train with dataset=outputs/{folder.name}, its copy here."
        )
    busy = ConfigError(f"run '{folder}': already at work in another process. Wait for it, or change `name`.")
    with files.locked(folder / ".lock", busy):
        yield


def prepare(config: Config) -> StageCount:
    """Make the run's folder: config, constitution and prompts in shards. Whatever a run of the same name made goes.

    Trained models stay: training finds out by itself whether they still fit.

    Raises:
        CharterError: something named in the config cannot be used.
    """
    law = load_constitution(config.constitution)
    started, source = time.monotonic(), open_source(config.prompts, config.seed)
    folder = lay_out(config, law)
    size = config.generation.shard_size
    with (
        Shards(folder / "prompts", SCHEMAS["prompts"], size) as used,
        Shards(folder / "failures", SCHEMAS["failures"], size, "prompts-") as lost,
    ):
        for row in source.rows():
            (used if isinstance(row, Prompt) else lost).add(row.row())
    return StageCount("prompts", source.read - source.not_drawn, used.count, lost.count, time.monotonic() - started)


def lay_out(config: Config, law: Constitution) -> Path:
    """The run's folder, begun anew: its config and its constitution, and folders for what the stages make."""
    folder = begin(config)
    for name in STAGE_FOLDERS:
        (folder / name).mkdir()
    (folder / "constitution.md").write_text(write_constitution(law), encoding="utf-8")
    _keep_laws_of_members(folder, config)
    if config.judge.audit:
        (folder / AUDIT).write_bytes(config.judge.audit.read_bytes())
    return folder


def begin(config: Config) -> Path:
    """The run's folder with its ``config.yaml``; what a run of the same name made goes, but for its trained models."""
    folder = config.run_folder
    for name in (*RESULTS, AUDIT):  # the manifest before what it vouches for
        (folder / name).unlink(missing_ok=True)
    for name in (*STAGE_FOLDERS, "answers", ROUNDS):
        _clear(folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    return folder


def _clear(folder: Path) -> None:
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        folder.rmdir(recursive=True)


def _keep_laws_of_members(folder: Path, config: Config) -> None:
    _clear(folder / "panel")
    for member in config.judge.panel:
        if member.constitution:
            kept = _law_of_member(folder, member.name)
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(write_constitution(load_constitution(member.constitution)), encoding="utf-8")


def judge_settings(folder: Path, config: Config) -> Judge:
    """The judge's settings; members of a panel with their constitutions as kept in the run's folder, so its audit."""

    def kept(member: Member) -> Member:
        law = _law_of_member(folder, member.name) if member.constitution else None
        return member.model_copy(update={"constitution": law})

    changed: dict[str, Any] = {"panel": tuple(map(kept, config.judge.panel))}
    if config.judge.audit:
        changed["audit"] = folder / AUDIT
    return config.judge.model_copy(update=changed)


def _law_of_member(folder: Path, name: str) -> Path:
    return folder / "panel" / f"{name}.md"


def shard_sizes(folder: Path) -> dict[int, int]:
    """The number of prompts in each shard of a run."""
    return {int(path.stem): count_rows(path) for path in sorted((folder / "prompts").glob("*.parquet"))}


async def respond_shard(
    folder: Path, shard: int, spec: EngineSpec, on_progress: OnProgress | None = None
) -> StageCount:
    """First answers to the prompts of one shard."""
    CALL_PRIORITY.set((shard,))
    config, rows = _config(folder), _read(folder, "prompts", shard)
    started = time.monotonic()
    async with open_engine(spec) as engine:
        outcome = await respond(
            rows, _context(folder, config, engine, spec), config.generation, telling(on_progress, engine)
        )
        return _keep(folder, "respond", "responses", shard, len(rows), outcome, engine, started)


async def revise_shard(folder: Path, shard: int, spec: EngineSpec, on_progress: OnProgress | None = None) -> StageCount:
    """Critiques and revisions of one shard."""
    CALL_PRIORITY.set((shard,))
    config, rows = _config(folder), _read(folder, "responses", shard)
    started = time.monotonic()
    async with open_engine(spec) as engine:
        outcome = await revise(
            rows, _context(folder, config, engine, spec), config.generation, telling(on_progress, engine)
        )
        return _keep(folder, "revise", "revisions", shard, len(rows), outcome, engine, started)


async def sample_shard(folder: Path, shard: int, spec: EngineSpec, on_progress: OnProgress | None = None) -> StageCount:
    """Further answers to prompts of one shard, where pairs are made of several; it is answers that are counted."""
    CALL_PRIORITY.set((shard,))
    config, started = _config(folder), time.monotonic()
    wanted = wanted_samples(_materials(folder, shard), _plan(config))
    async with open_engine(spec) as engine:
        context, tell = _context(folder, config, engine, spec), telling(on_progress, engine)
        outcome = await sample(wanted, context, config.generation, config.pairs.temperature, tell)
    _write(folder, "samples", shard, outcome.rows)
    _write_failures(folder, "sample", shard, outcome.failures)
    return count_rows_of("sample", len(wanted), len(outcome.rows), len(outcome.failures), engine.stats, started)


async def judge_shard(folder: Path, shard: int, spec: EngineSpec, on_progress: OnProgress | None = None) -> StageCount:
    """Make pairs of the answers of one shard, judge them, and divide its rows into supervised rows and pairs."""
    CALL_PRIORITY.set((shard,))
    config, materials, started = _config(folder), _materials(folder, shard), time.monotonic()
    async with open_bench(spec, config.judge) as engine:
        context, tell = _context(folder, config, engine.engine, spec), telling(on_progress, engine)
        context = replace(context, members=engine.members)
        made = await label(materials, _plan(config), context, judge_settings(folder, config), tell)
    _write(folder, "sft_data", shard, made.sft)
    _write(folder, "pairs", shard, made.pairs)
    if config.judge.panel:
        _write(folder, "review", shard, made.review)
    _write_failures(folder, "judge", shard, made.failures)
    rows_in, rows_out = len(materials), len(made.rows)
    return count_rows_of("judge", rows_in, rows_out, rows_in - rows_out, engine.stats, started)


def mix_pairs(folder: Path) -> StageCount:
    """Leave out the pairs that go for the sake of the whole, when all are judged; it is pairs that are counted."""
    config, started = _config(folder), time.monotonic()
    columns = ("pair_id", "strategy", "chosen", "rejected")
    weights = weigh(
        (
            Weighed(row["pair_id"], row["strategy"], len(row["chosen"]) - len(row["rejected"]))
            for row in read_rows(folder / "pairs", columns)
        ),
        config.seed,
    )
    fates, before, left = leaving(weights, config.pairs), 0, 0
    for number, path in enumerate(shard_files(folder / "pairs")):
        rows = list(read_rows(path))
        reasons = [REASONS[fate] for fate in fates[before : before + len(rows)]]
        _write_failures(folder, "mix", number, _take_out(path, rows, reasons))
        before, left = before + len(rows), left + sum(map(bool, reasons))
    return StageCount("mix", before, before - left, left, round(time.monotonic() - started, 3))


def _take_out(path: Path, rows: Sequence[dict[str, Any]], reasons: Sequence[str]) -> list[dict[str, Any]]:
    """Take the pairs that have a reason out of their shard; failures for them."""
    failures = [
        failure(row, "mix", reason, f"{row['chosen']!r} | {row['rejected']!r}")
        for row, reason in zip(rows, reasons, strict=True)
        if reason
    ]
    if failures:
        stay = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
        write_rows(path, SCHEMAS["pairs"], stay)
    return failures


def _config(folder: Path) -> Config:
    return load_config(folder / "config.yaml")


def _context(folder: Path, config: Config, engine: Engine, spec: EngineSpec) -> Context:
    law: Constitution = load_constitution(folder / "constitution.md")
    settings = config.generation
    return Context(engine.ask, law, config.seed, spec.identity, settings.templates, settings.preface)


def _plan(config: Config) -> Plan:
    return Plan(config.pairs, config.training.sft_share, config.seed)


def _materials(folder: Path, shard: int) -> list[Material]:
    """What there is of each row of a shard that went through its rounds."""
    revisions = _read(folder, "revisions", shard)
    samples = _read(folder, "samples", shard) if _shard(folder, "samples", shard).is_file() else []
    return gather(walked_rows(_read(folder, "responses", shard), revisions), revisions, samples)


def _read(folder: Path, name: str, shard: int) -> list[dict[str, Any]]:
    return list(read_rows(_shard(folder, name, shard)))


def _write(folder: Path, name: str, shard: int, rows: Sequence[dict[str, Any]]) -> None:
    write_rows(_shard(folder, name, shard), SCHEMAS[name], rows)


def _write_failures(folder: Path, stage: str, shard: int, rows: Sequence[dict[str, Any]]) -> None:
    write_rows(folder / "failures" / f"{stage}-{shard:05d}.parquet", SCHEMAS["failures"], rows)


def _shard(folder: Path, name: str, shard: int) -> Path:
    return folder / name / f"{shard:05d}.parquet"


def _keep(
    folder: Path, stage: str, name: str, shard: int, rows_in: int, outcome: Outcome, engine: Engine, started: float
) -> StageCount:
    _write(folder, name, shard, outcome.rows)
    _write_failures(folder, stage, shard, outcome.failures)
    rows_out = len({row["row_id"] for row in outcome.rows})
    return count_rows_of(stage, rows_in, rows_out, len(outcome.failures), engine.stats, started)
