"""The Python interface: what `charter` exports, see docs/python.md.

Functions that make data or train work on a run's folder, like the commands of the same name. They block; inside an
event loop, run them in a thread.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from charter.config import Config, load_config
from charter.constitution import Constitution, Principle, load_constitution, load_kept_constitution
from charter.constitution.lint import lint
from charter.constitution.problems import Problem
from charter.core.errors import DataError
from charter.core.messages import Messages, user
from charter.core.threads import enter_in_thread
from charter.data.schema import SCHEMAS
from charter.data.shards import shard_files
from charter.inference.completion import Completion, Sampling
from charter.inference.engine import Engine
from charter.inference.session import Session
from charter.pipeline.judges.calibrated import configured_judges
from charter.pipeline.judges.engines import open_judges
from charter.pipeline.judges.protocol import Judgement
from charter.pipeline.roles import serve_temporarily
from charter.pipeline.rows import StageContext
from charter.runs.dataset import make_tables
from charter.runs.folder import lock_run_folder
from charter.runs.manifest import write_manifest
from charter.runs.outcome import check_dataset
from charter.runs.preflight import check_config


@dataclass(frozen=True)
class Run:
    """A run on disk, such as ``outputs/demo``.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """A run that was made before, finished or not.

        Raises:
            DataError: the folder holds no run.
        """
        folder = Path(folder)
        if not (folder / "config.yaml").is_file():
            raise DataError(f"run '{folder}': has no config.yaml. Name a run's folder, such as outputs/demo.")
        return cls(folder)

    @property
    def config(self) -> Config:
        """The settings it was made with."""
        return load_config(self.folder / "config.yaml")

    @property
    def constitution(self) -> Constitution:
        """The principles it was made under, as the run keeps them."""
        return load_kept_constitution(self.folder)

    def table(self, name: str) -> pl.LazyFrame:
        """One of the run's tables, such as `pairs` or `failures`, read when it is collected.

        The columns are described in `charter.data.schema`.

        Raises:
            DataError: no table has this name, or the run has not made it.
        """
        if name not in SCHEMAS:
            raise DataError(f"table '{name}': does not exist. The tables are {', '.join(SCHEMAS)}.")
        return pl.scan_parquet(shard_files(self.folder / name))

    @property
    def verdict(self) -> dict[str, Any] | None:
        """What the gate decided, as ``gate.json`` holds it; None before the run is evaluated."""
        return self._json("gate.json")

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The measures of every model, as ``evaluation.json`` holds them; None before the run is evaluated."""
        return self._json("evaluation.json")

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.folder / "report.html"

    def _json(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def lint_constitution(path: str | Path) -> list[Problem]:
    """Everything that is wrong or doubtful with a constitution, in order of line; empty if it is clean.

    Raises:
        ConstitutionError: the file cannot be read.
    """
    return lint(Path(path))


def make_dataset(config: Config) -> Run:
    """Make responses, critiques, revisions, pairs and their soft labels; nothing is trained. Prefect is not used.

    A call that was interrupted continues when it is made again.

    Raises:
        CharterError: something that the config names cannot be used, or a server failed; the message says what to do.
    """
    prompts = check_config(config)
    with lock_run_folder(config.run_folder), serve_temporarily(config, _print_line, patience_s=None) as models:
        session = Session(config.budget)
        counts = asyncio.run(make_tables(config, models, prompts, session))
        check_dataset(config)
        identities = {role: spec.identity for role, spec in models.items()}
        write_manifest(config.run_folder, counts, identities, session.server_notes())
    return Run(config.run_folder)


def align(config: Config) -> Run:
    """Make a dataset, train SFT and DPO on it, evaluate, and decide: the flow ``align``, as a Prefect flow run.

    Raises:
        CharterError: something that the config names cannot be used, or a step failed; the message says what to do.
    """
    from flows.align import align as flow  # imports Prefect, which takes seconds

    asyncio.run(flow(config))
    return Run(config.run_folder)


def evaluate(config: Config, base: str | None = None) -> Run:
    """Evaluate `config.model`, or what answers at `config.serving.base_urls`: the flow ``evaluate``.

    Args:
        config: the model, its evaluation and gate, and the run's name.
        base: the model to compare it with: a folder, a hub id or an address; nothing is compared by default.

    Raises:
        CharterError: something that is named cannot be used, or a server failed; the message says what to do.
    """
    from flows.evaluate import evaluate as flow

    asyncio.run(flow(config, base))
    return Run(config.run_folder)


class Model:
    """A served model; made by `open_model`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ask(self, prompt: str | Messages, max_tokens: int = 512, **sampling: Any) -> Completion:
        """The answer to a question or a conversation; its `text`, `finish_reason` and token counts.

        Args:
            prompt: a question, or messages with `role` and `content`.
            max_tokens: of the answer.
            sampling: further fields of `charter.inference.Sampling`, such as `temperature` and `seed`.

        Raises:
            CompletionFailed: the request will never succeed.
            ServingError: the server is gone.
        """
        return await self._engine.ask(_conversation(prompt), Sampling(max_tokens=max_tokens, **sampling))


@asynccontextmanager
async def open_model(config: Config) -> AsyncIterator[Model]:
    """The model of a config, on its `serving.base_urls` or on vLLM started here, for the length of the block.

    Answers are kept in the config's store, so the same question is answered once.

    Raises:
        ModelError, ServingError: the model cannot be used or served.
    """
    async with (
        enter_in_thread(lambda stop: serve_temporarily(config, _print_line, ["base"], stop)) as models,
        Session(config.budget).engine(models["base"]) as engine,
    ):
        yield Model(engine)


class OpenJudge:
    """A judge that can be asked; made by `open_judge`."""

    def __init__(self, config: Config, constitution: Constitution, context: StageContext) -> None:
        self._compare = configured_judges(config.judge).label
        self._constitution, self._context = constitution, context

    async def compare(
        self, prompt: str | Messages, first: str, second: str, principles: Sequence[Principle] | None = None
    ) -> Judgement:
        """How probable it is that `second` is the better answer: `p`, with its parts by principle and by order.

        Args:
            prompt: a question, or a conversation.
            first: an answer.
            second: another answer.
            principles: to judge by; all of the constitution by default.

        Raises:
            RowFailed: the judge's answer holds no verdict.
            CompletionFailed: the request will never succeed.
        """
        chosen = self._constitution.principles if principles is None else tuple(principles)
        return await self._compare(_conversation(prompt), first, second, chosen, self._context)


@asynccontextmanager
async def open_judge(config: Config) -> AsyncIterator[OpenJudge]:
    """The judge of a config, alone, for the length of the block.

    Raises:
        ModelError, ServingError: its model cannot be used or served.
        ConstitutionError: the constitution cannot be read.
    """
    constitution, settings = load_constitution(config.constitution), config.generation
    async with enter_in_thread(lambda stop: serve_temporarily(config, _print_line, stop=stop)) as models:
        spec = models.get("judge", models["base"])
        async with open_judges(Session(config.budget), spec, config.judge) as engines:
            context = StageContext(
                engines.ask,
                constitution,
                config.seed,
                spec.identity,
                settings.templates,
                settings.preface,
                engines.members,
            )
            yield OpenJudge(config, constitution, context)


def read_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """A config from a YAML file, with settings changed by their dotted names, such as ``{"prompts.n": 50}``.

    Raises:
        ConfigError: the file cannot be read, or a setting is wrong; the message names the file, line and field.
    """
    return load_config(Path(path), dict(overrides or {}))


def read_constitution(path: str | Path) -> Constitution:
    """A constitution from a Markdown file.

    Raises:
        ConstitutionError: it cannot be read; the message names each mistake with its line.
    """
    return load_constitution(Path(path))


def _conversation(prompt: str | Messages) -> Messages:
    return (user(prompt),) if isinstance(prompt, str) else prompt


def _print_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")
