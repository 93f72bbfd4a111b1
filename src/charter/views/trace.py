"""``charter trace``: each request and answer of one row, in order.

A prompt is traced on the servers of a config; a row of a finished run from its store alone.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text

from charter.config import Config, load_config
from charter.config.generation import SamplingParameters
from charter.constitution import Constitution, load_constitution, load_kept_constitution
from charter.core.errors import ConfigError, DataError, StoreError
from charter.core.losses import ADVICE, OTHER_ADVICE
from charter.core.messages import assistant, user
from charter.data.conversations import content_id
from charter.data.sources import Prompt
from charter.inference.engine import EngineSpec, request_parameters
from charter.inference.model_sampling import model_sampling
from charter.inference.session import Session
from charter.inference.special_tokens import special_tokens
from charter.pipeline.context import RunContext
from charter.pipeline.roles import model_folder, serve_temporarily
from charter.pipeline.rows import Row
from charter.pipeline.sequence import run_in_memory
from charter.report.run_tables import check_run, scan
from charter.report.terminal import labelled, visible
from charter.runs.folder import judge_settings
from charter.views.explain.rows import broken_shard_as_data_error, find_row
from charter.views.recorder import Call, CallRecorder


@dataclass(frozen=True)
class Trace:
    """The calls of one row.

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
    """Send one prompt through the stages, using the store first; `say` reports what servers do while they start.

    Raises:
        CharterError: the prompt is empty, or something that the config names cannot be used.
    """
    if not text.strip():
        raise ConfigError("prompt '': is empty. Write one: charter trace 'How do I pick a lock?'")
    constitution, messages = load_constitution(config.constitution), (user(text.strip()),)
    row = Prompt(content_id(messages), messages, None, "trace").row()
    with serve_temporarily(config, say) as models:
        return asyncio.run(_trace(row, config, constitution, models))


def trace_row(run: Path, name: str) -> Trace:
    """Trace a row of a finished run again; a request that the store no longer has is a call without an answer.

    Args:
        run: the run's folder.
        name: the row's id, or enough of its beginning.

    Raises:
        DataError: no such run or row, or the run is not finished.
        StoreError: its store does not exist.
    """
    check_run(run)
    config = load_config(run / "config.yaml")
    # With the panel's constitutions as the run kept them: the originals may have been edited since.
    config = config.model_copy(update={"judge": judge_settings(run, config)})
    row_id = find_row(run, name)
    with broken_shard_as_data_error(run):
        prompts = scan(run, "prompts")
        rows = [] if prompts is None else prompts.filter(pl.col("row_id") == row_id).collect().to_dicts()
    if not rows:
        raise DataError(f"row '{row_id}': its prompt could not be used. See charter explain {run} {row_id}")
    if not (run / "manifest.json").is_file():
        raise DataError(
            f"run '{run}': not finished. Let it finish, or trace a prompt on its servers: "
            f"charter trace PROMPT --config {run / 'config.yaml'}"
        )
    identities = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["models"]
    store = config.store or str(run.parent / "completions.sqlite")
    if "://" not in store and not Path(store).is_file():
        raise StoreError(f"store '{store}': no such file. Trace from the folder in which the run was started.")
    # Text that spells a special token is escaped in a request, so the keys in the store depend on the tokens.
    tokens = () if config.serving.base_urls else special_tokens(model_folder(config.model))
    own = SamplingParameters() if config.serving.base_urls else model_sampling(model_folder(config.model))
    sampling = request_parameters(config.generation.sampling.over(own), config.serving)
    # Without addresses, so that only the store answers.
    models = {
        name: EngineSpec((), name, identities[name], store, special_tokens=tokens, **sampling)
        for name in ("base", "judge")
        if name in identities
    }
    return asyncio.run(_trace(rows[0], config, load_kept_constitution(run), models))


async def _trace(row: Row, config: Config, constitution: Constitution, models: Mapping[str, EngineSpec]) -> Trace:
    recorder = CallRecorder()
    run = RunContext(config, constitution, config.run_folder, models)
    result = await run_in_memory([row], run, Session(), recorder.recorded, recorder.begin_stage)
    # The stage "revise" asks for critiques too. A revision is the call that continues the critique before it.
    critiques = [call for call in recorder.calls if call.stage == "revise"]
    # None, so that the first call has one before it.
    for before, call in pairwise([None, *critiques]):
        revises = False
        if before and call and before.stage == "critique" and before.answer:
            continued = [*before.messages, assistant(before.answer.text.strip())]
            revises = continued == list(call.messages[:-1])
        if call and not revises:
            call.stage = "critique"

    def values(row: Row, end: str, *names: str) -> dict[str, Any]:
        return {"as": end, **{name: row[name] for name in names}}

    ended = (
        *(values(row, "pair", "pair_id", "chosen", "rejected", "p_chosen") for row in result.tables["pairs"]),
        *(values(row, "sft", "completion", "source", "p_chosen") for row in result.tables["sft_data"]),
        *(values(row, "failed", "pair_id", "stage", "reason", "detail") for row in result.failures),
    )
    return Trace(row["row_id"], row["kind"], tuple(recorder.calls), ended)


def print_trace(trace: Trace, console: Console) -> None:
    """Print every call of a row and where the row ended; messages of an earlier request are not printed again."""
    for index, call in enumerate(trace.calls):
        console.print(*_call(call, trace.calls[:index]), sep="\n")
        console.print()
    for end in trace.ended:
        if end["as"] == "failed":
            text = f"at {end['stage']}: {end['reason']}{': ' + end['detail'] if end['detail'].strip() else ''}"
            text += f". {ADVICE.get(end['reason'], OTHER_ADVICE)}"
        else:
            ended = f"in SFT, which learns the {end['source']}" if end["as"] == "sft" else ""
            text = ended or f"as a preference pair ({end['pair_id']})"
            text += "" if end["p_chosen"] is None else f"; p(chosen) = {end['p_chosen']:.3f}"
        console.print(*labelled("Ended", Text(visible(text))), sep="\n")

    answers = [call.answer for call in trace.calls if call.answer]
    stored, unanswered = sum(answer.stored for answer in answers), len(trace.calls) - len(answers)
    parts = [f"asked {len(answers) - stored}", f"from the store {stored}"]
    parts += [f"no answer {unanswered}"] if unanswered else []
    read, written = sum(answer.prompt_tokens for answer in answers), sum(answer.completion_tokens for answer in answers)
    tokens = f"{read:,} tokens of requests, {written:,} of answers"
    console.print(Text(f"{trace.row_id}: {', '.join(parts)}; {tokens}"))


def _call(call: Call, earlier: Sequence[Call]) -> Iterator[RenderableType]:
    answer, sampling = call.answer, call.sampling
    yield Rule(Text(f"{call.number} {call.stage}", style="bold"), align="left", style="dim")
    settings = []
    if answer is not None:
        settings += ["from the store" if answer.stored else "asked"]
        settings += [f"{answer.prompt_tokens} + {answer.completion_tokens} tokens"]
        settings += [f"ended by {answer.finish_reason}"] if answer.finish_reason != "stop" else []
    settings += [f"at most {sampling.max_tokens}", f"temperature {sampling.temperature:g}", f"seed {sampling.seed}"]
    yield Text(" · ".join(settings), style="dim")
    # Requests of a row grow by a message or two each: printing all of every request would hide what is new.
    shared, number = shared_beginning(call, earlier)
    if shared:
        which = "the first message" if shared == 1 else f"the first {shared} messages"
        yield Text(f"({which} as in {number})", style="dim")
    for message in call.messages[shared:]:
        yield from labelled(message["role"], Text(visible(message["content"])), "bold cyan")
    if answer is None:
        yield from labelled("no answer", Text(visible(call.failure)), "bold red")
        return
    yield from labelled("answer", Text(visible(answer.text)), "bold green")
    if answer.choice_probs:
        odds = zip(sampling.choices, answer.choice_probs, strict=True)
        yield Text("  " + " · ".join(f"{choice} {p:.3f}" for choice, p in odds))


def shared_beginning(call: Call, earlier: Sequence[Call]) -> tuple[int, int]:
    """The number of leading messages that a call shares with an earlier call, and that call's number; 0, 0 if none.

    Of several calls that share equally many, the last is named.
    """
    longest = (0, 0)
    for other in earlier:
        length = 0
        for one, its in zip(call.messages, other.messages, strict=False):
            if one != its:
                break
            length += 1
        # Tuples compare by length first, then by number.
        longest = max(longest, (length, other.number) if length else (0, 0))
    return longest
