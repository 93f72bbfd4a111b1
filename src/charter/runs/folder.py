"""A run's folder: locked by one process, created, kept when another run takes its name, and mirrored from S3."""

import contextlib
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import yaml

from charter.config import Config, Judge, Member
from charter.constitution import (
    Constitution,
    keep_constitution,
    kept_constitution_path,
    load_constitution,
    load_kept_constitution,
)
from charter.core import files
from charter.core.errors import ConfigError, ConstitutionError
from charter.data.schema import SCHEMAS
from charter.data.shards import Shards, count_rows
from charter.data.sources import Prompt, Reject, SurveyedSource, open_source
from charter.inference.engine import EngineSpec
from charter.pipeline.context import RunContext
from charter.pipeline.counts import StageCount

logger = logging.getLogger(__name__)

STAGE_FOLDERS = tuple(SCHEMAS)
AUDIT = "judge-audit.json"
"""The judge's audit as it was when the run started: labels are calibrated by it, and the report shows it."""
ROUNDS = "rounds"
"""The folder of later rounds, each laid out like a run's folder; see `charter.runs.rounds`."""
RESULTS = (
    "manifest.json",  # first: it says that all others are complete, so it is deleted first and copied last
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
def lock_run_folder(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder. The lock ends with the process, however that ends.

    Raises:
        ConfigError: another run is using the folder, or it is not on this machine's disk.
    """
    if not isinstance(folder, Path):  # a UPath on S3
        raise ConfigError(
            f"outputs '{folder.parent}': only `charter dataset` can write there, since the other flows train or keep "
            "files that change. Make the data with it, then run `charter train` with "
            f"dataset=outputs/{folder.name}, its copy here."
        )
    busy = ConfigError(f"run '{folder}': another process is using it. Wait for it, or change `name`.")
    with files.file_lock(folder / ".lock", busy):
        yield


class StartedRun(NamedTuple):
    """A run whose folder holds its prompts.

    Attributes:
        config: the run's settings, with the judge's files as kept in the folder.
        constitution: the run's principles.
        prompts: how many were read, used and failed.
        lost: how many failed for each reason.
    """

    config: Config
    constitution: Constitution
    prompts: StageCount
    lost: Mapping[str, int] = MappingProxyType({})

    def context(self, models: Mapping[str, EngineSpec]) -> RunContext:
        """The context of the stages, with the models that make the data, by role."""
        return RunContext(self.config, self.constitution, self.config.run_folder, models)


def start_run(config: Config, source: SurveyedSource | None = None) -> StartedRun:
    """Create the run's folder: its config, its constitution and its prompts in shards.

    Trained models stay: training itself checks whether they still fit.

    Args:
        config: of the run.
        source: the prompts, if they were surveyed before; opened here by default.

    Raises:
        CharterError: something named in the config cannot be used.
    """
    constitution = load_constitution(config.constitution)
    started, source = time.monotonic(), source or open_source(config.prompts, config.seed)
    folder = create_run_folder(config, constitution)
    size, lost = config.generation.shard_size, Counter[str]()
    with (
        Shards(folder / "prompts", SCHEMAS["prompts"], size) as prompts,
        Shards(folder / "failures", SCHEMAS["failures"], size, "prompts-") as failures,
    ):
        for row in source.rows():
            (prompts if isinstance(row, Prompt) else failures).add(row.row())
            if isinstance(row, Reject):
                lost[row.reason] += 1
    rows_in = source.read - source.not_drawn  # a row that was not drawn did not fail
    count = StageCount("prompts", rows_in, prompts.count, failures.count, time.monotonic() - started)
    return StartedRun(with_kept_judge(config), constitution, count, lost)


def create_run_folder(config: Config, constitution: Constitution) -> Path:
    """The run's folder without results: its config, its constitution, and an empty folder for each table."""
    folder = reset_run_folder(config, constitution)
    for name in STAGE_FOLDERS:
        (folder / name).mkdir()
    keep_constitution(constitution, folder)
    _clear(folder / "panel")
    for member in config.judge.panel:
        if member.constitution:
            keep_constitution(load_constitution(member.constitution), folder / "panel" / member.name)
    if config.judge.audit:
        (folder / AUDIT).write_bytes(config.judge.audit.read_bytes())
    return folder


def reset_run_folder(config: Config, constitution: Constitution | None = None) -> Path:
    """The run's folder with its ``config.yaml``, and without results.

    A finished run of the same name that had other settings or another constitution is kept beside it, as ``NAME.1``
    and so on. The same run started again replaces its own results. Trained models stay in either case.

    Raises:
        ConfigError: the earlier run is not on this machine's disk, where it cannot be kept.
    """
    folder = config.run_folder
    settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    if _is_another_run(folder, settings, constitution):
        kept = _keep_earlier_run(folder)
        logger.warning("run '%s': an earlier run of this name had other settings. It is kept as '%s'.", folder, kept)
    for name in (*RESULTS, AUDIT):
        (folder / name).unlink(missing_ok=True)
    for name in (*STAGE_FOLDERS, "answers", "constitution", ROUNDS):
        _clear(folder / name)
    for name in ("constitution.json", "constitution.md"):
        (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    return folder


def _is_another_run(folder: Path, settings: str, constitution: Constitution | None) -> bool:
    """Whether the folder holds results that were made with other settings or under another constitution."""
    if not any((folder / name).is_file() for name in ("manifest.json", "gate.json", "report.html")):
        return False
    if not (folder / "config.yaml").is_file() or (folder / "config.yaml").read_text(encoding="utf-8") != settings:
        return True
    if constitution is None or not kept_constitution_path(folder).is_file():
        return False
    try:
        return load_kept_constitution(folder).hash != constitution.hash
    except ConstitutionError:  # written by another version
        return True


def _keep_earlier_run(folder: Path) -> Path:
    """Move a run's folder to the next free ``NAME.N``, and give the new folder its finished models."""
    if not isinstance(folder, Path):
        raise ConfigError(
            f"name '{folder.name}': '{folder}' holds a finished run with other settings. Give this run another name."
        )
    number = 1
    while (kept := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(kept)
    folder.mkdir()
    if (kept / ".lock").exists():  # held by this process
        (kept / ".lock").rename(folder / ".lock")

    def link_or_copy(source: str, target: str) -> None:
        if source.endswith(".safetensors"):
            with contextlib.suppress(OSError):  # another file system, or one without links
                os.link(source, target)
                return
        shutil.copy2(source, target)

    # Weights are linked: training replaces the files of a model that no longer fits, and never writes into them.
    for model in kept.glob("*/DONE"):
        shutil.copytree(model.parent, folder / model.parent.name, copy_function=link_or_copy)
    return kept


def _clear(folder: Path) -> None:
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():  # a UPath on S3 has a Path's methods, but is not a Path
        folder.rmdir(recursive=True)


@contextlib.contextmanager
def local_mirror(config: Config) -> Iterator[Config]:
    """The config of a copy of the run on this machine's disk, for steps that read the whole run.

    Results that the block writes there are sent back, the manifest last. A run on disk is its own copy.
    """
    if not config.is_remote:
        yield config
        return
    mirrored = config.model_copy(update={"outputs": config.disk, "store": config.store_url})
    local, remote = reset_run_folder(mirrored), cast(Any, config.run_folder)
    paths = remote.fs.find(remote.path)
    remote.fs.get(paths, [str(local / path.removeprefix(remote.path).lstrip("/")) for path in paths])
    yield mirrored
    for name in reversed(RESULTS):
        if (local / name).is_file():
            (remote / name).write_bytes((local / name).read_bytes())


def with_kept_judge(config: Config) -> Config:
    """The config of a started run: its judge uses the files kept in the run's folder."""
    return config.model_copy(update={"judge": judge_settings(config.run_folder, config)})


def judge_settings(folder: Path, config: Config) -> Judge:
    """The judge's settings, with its audit and the constitutions of panel members as kept in the run's folder."""

    def kept(member: Member) -> Member:
        constitution = kept_constitution_path(folder / "panel" / member.name) if member.constitution else None
        return member.model_copy(update={"constitution": constitution})

    changed: dict[str, Any] = {"panel": tuple(map(kept, config.judge.panel))}
    if config.judge.audit:
        changed["audit"] = folder / AUDIT
    return config.judge.model_copy(update=changed)


def shard_sizes(folder: Path) -> dict[int, int]:
    """The number of prompts in each shard of a run."""
    return {int(path.stem): count_rows(path) for path in sorted((folder / "prompts").glob("*.parquet"))}
