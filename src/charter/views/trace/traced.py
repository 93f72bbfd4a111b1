"""A prompt traced through the chain, on its servers; or a row of a finished run, out of the store alone."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from charter.config import Config, load_config
from charter.constitution import Constitution, load_constitution, load_kept_constitution
from charter.core.errors import ConfigError, DataError, StoreError
from charter.core.messages import user
from charter.data.conversations import content_id
from charter.data.sources import Prompt
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.inference.special_tokens import special_tokens
from charter.pipeline.context import RunContext
from charter.pipeline.roles import model_folder, serve_temporarily
from charter.pipeline.rows import Row
from charter.pipeline.sequence import MemoryRun, run_in_memory
from charter.report.tables import check_run, scan
from charter.runs.folder import judge_settings
from charter.views.explain.rows import find_row, reading
from charter.views.trace.calls import Call, Recorder


@dataclass(frozen=True)
class Trace:
    """A row's way.

    Attributes:
        row_id: the row's id.
        kind: of its prompt, if it has one.
        calls: in the order in which they were made.
        ended: where the row ended, as plain values: each has ``as``, which is ``pair``, ``sft`` or ``failed``.
    """

    row_id: str
    kind: str | None
    calls: tuple[Call, ...]
    ended: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        calls = [call.to_dict() for call in self.calls]
        return {"row_id": self.row_id, "kind": self.kind, "calls": calls, "ended": list(self.ended)}


def trace_prompt(text: str, config: Config, say: Callable[[str], None]) -> Trace:
    """Send one prompt through the chain, the store first; `say` is told what servers do while they start.

    Raises:
        CharterError: the prompt is empty, or something that the config names cannot be used.
    """
    if not text.strip():
        raise ConfigError("prompt '': says nothing. Write one: charter trace 'How do I pick a lock?'")
    law, messages = load_constitution(config.constitution), (user(text.strip()),)
    row = Prompt(content_id(messages), messages, None, "trace").row()
    with serve_temporarily(config, say) as models:
        return asyncio.run(_trace(row, config, law, models))


def trace_row(run: Path, name: str) -> Trace:
    """Follow a row of a finished run again; what the store no longer has is a call without an answer.

    Args:
        run: the run's folder.
        name: the row's id, or enough of its beginning.

    Raises:
        DataError: no such run or row, or the run is not finished.
        StoreError: its store is not there.
    """
    check_run(run)
    config = load_config(run / "config.yaml")
    config = config.model_copy(update={"judge": judge_settings(run, config)})
    row = _row(run, find_row(run, name))
    return asyncio.run(_trace(row, config, load_kept_constitution(run), _remembered(run, config)))


def _remembered(run: Path, config: Config) -> dict[str, EngineSpec]:
    """The models of a finished run, to be answered for by the store."""
    if not (run / "manifest.json").is_file():
        raise DataError(
            f"run '{run}': not finished. Let it finish, or trace a prompt on its servers: "
            f"charter trace PROMPT --config {run / 'config.yaml'}"
        )
    identities = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["models"]
    store = config.store or str(run.parent / "completions.sqlite")
    if "://" not in store and not Path(store).is_file():
        raise StoreError(f"store '{store}': no such file. Trace from the folder in which the run was started.")
    tokens = () if config.serving.base_urls else special_tokens(model_folder(config.model))
    return {
        name: EngineSpec((), name, identities[name], store, special_tokens=tokens)
        for name in ("base", "judge")
        if name in identities
    }


def _row(run: Path, row_id: str) -> Row:
    with reading(run):
        prompts = scan(run, "prompts")
        found = [] if prompts is None else prompts.filter(pl.col("row_id") == row_id).collect().to_dicts()
    if not found:
        raise DataError(f"row '{row_id}': its prompt could not be used. See charter explain {run} {row_id}")
    return found[0]


async def _trace(row: Row, config: Config, law: Constitution, models: Mapping[str, EngineSpec]) -> Trace:
    recorder = Recorder()
    run = RunContext(config, law, config.run_folder, models)
    walked = await run_in_memory([row], run, Session(), recorder.watched, recorder.at)
    return Trace(row["row_id"], row["kind"], tuple(recorder.calls), tuple(_ended(walked)))


def _ended(walked: MemoryRun) -> list[dict[str, Any]]:
    def taken(row: Row, what: str, *names: str) -> dict[str, Any]:
        return {"as": what, **{name: row[name] for name in names}}

    return [
        *(taken(row, "pair", "pair_id", "chosen", "rejected", "p_chosen") for row in walked.tables["pairs"]),
        *(taken(row, "sft", "completion", "source", "p_chosen") for row in walked.tables["sft_data"]),
        *(taken(row, "failed", "pair_id", "stage", "reason", "detail") for row in walked.failures),
    ]
