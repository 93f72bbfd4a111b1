"""What a constitution does to a few prompts: the first two stages in memory, again after each save."""

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charter.config import Config
from charter.constitution.diff import diff_words
from charter.constitution.lint import lint
from charter.constitution.model import Constitution, ids_in
from charter.constitution.parse import load_constitution
from charter.constitution.problems import BrokenConstitution, Problem
from charter.constitution.source import LARGEST_FILE, read_file
from charter.core.errors import ConfigError
from charter.core.messages import Message, prompt_text
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.context import RunContext
from charter.pipeline.rows import OnProgress, Row
from charter.pipeline.sequence import RESPOND, REVISE, MemoryRun, run_in_memory
from charter.views.critiques import CritiqueRound
from charter.views.recorder import CallRecorder


@dataclass(frozen=True)
class PreviewedRow:
    """One prompt with its answers. A row that failed says where and why, and has no final answer."""

    row_id: str
    kind: str | None
    prompt: tuple[Message, ...]
    response: str | None
    rounds: tuple[CritiqueRound, ...]
    failure: str = ""

    @property
    def final(self) -> str | None:
        """The answer after the last round."""
        return None if self.failure or not self.rounds else self.rounds[-1].revision

    @property
    def changed(self) -> bool:
        """Whether the final answer differs from the first."""
        return self.final is not None and self.final != self.response

    @property
    def question(self) -> str:
        """The prompt as one text."""
        return prompt_text(self.prompt)

    def to_dict(self) -> dict[str, Any]:
        """As plain values; `words` is the difference between the first response and the final answer."""
        differences = diff_words(self.response or "", self.final or "") if self.changed else ()
        return {
            "row_id": self.row_id,
            "kind": self.kind,
            "prompt": [dict(message) for message in self.prompt],
            "response": self.response,
            "rounds": [one.to_dict() for one in self.rounds],
            "final": self.final,
            "changed": self.changed,
            "words": [piece._asdict() for piece in differences],
            "failure": self.failure,
        }


@dataclass(frozen=True)
class Preview:
    """What one version of the file does.

    Attributes:
        constitution: the last one that could be read, if the file is `broken`.
        rows: in the order of the prompts; they belong to `constitution`.
        problems: what `lint` reports about the file.
        asked: calls that the model answered.
        from_store: calls that had been answered before.
        seconds: how long it took.
        broken: the file cannot be read in its present state.
    """

    constitution: Constitution
    rows: tuple[PreviewedRow, ...]
    problems: tuple[Problem, ...]
    asked: int
    from_store: int
    seconds: float
    broken: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        constitution = self.constitution
        return {
            "constitution": {
                "file": str(constitution.path),
                "name": constitution.name,
                "version": constitution.version,
                "hash": constitution.hash,
            },
            "broken": self.broken,
            "problems": [problem._asdict() for problem in self.problems],
            "rows": [row.to_dict() for row in self.rows],
            "asked": self.asked,
            "from_store": self.from_store,
            "seconds": round(self.seconds, 3),
        }


class WatchedFiles:
    """Remembers the content of the files that it read, to notice when they are saved. Make a new one per reading.

    It compares content several times a second. That notices editors that write into the file as well as those that
    replace it, on any file system, and ignores a save that changes nothing.
    """

    def __init__(self) -> None:
        self._hashes: dict[Path, str | None] = {}

    def read(self, path: Path) -> bytes:
        """The content of a constitution's file; a reader for `load_constitution`.

        Raises:
            BrokenConstitution: missing, or larger than 1 MiB.
        """
        self._hashes[path] = _content_hash(path)  # before reading, so that a save in between is not missed
        return read_file(path)

    async def saved(self, poll_s: float = 0.1) -> None:
        """Return once a file has changed and then stayed the same for `poll_s`: editors write in several steps."""
        before, stable = self._hashes, False
        while not stable:
            await asyncio.sleep(poll_s)
            now = {path: _content_hash(path) for path in self._hashes}
            # Chained on purpose: the content is the same as at the last look, and other than what was read.
            stable = now == before != self._hashes
            before = now


def _content_hash(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            # One byte more than is allowed is enough to see that a file which grew too large has changed.
            return hashlib.sha256(file.read(LARGEST_FILE + 1)).hexdigest()
    except OSError:
        return None


async def previews(
    path: Path,
    prompts: Sequence[Row],
    session: Session,
    model: EngineSpec,
    config: Config,
    on_progress: OnProgress | None = None,
) -> AsyncGenerator[Preview, None]:
    """The preview of a file, then another each time it, or a file that it extends, is saved; without end.

    The store keys completions by their request, so after a save only the rows that an edited principle applies to
    are generated again. A save that breaks the file gives the previous preview again, with the problems.

    Args:
        path: the constitution.
        prompts: rows of ``prompts``.
        session: to ask in.
        model: answers calls, from the store first.
        config: its seed and its settings of generation are used.
        on_progress: called after each row.

    Raises:
        ConstitutionError, ConfigError: the file cannot be used to begin with.
        ServingError: the servers are gone.
    """
    last: Preview | None = None
    while True:
        # New for each reading: a save may add or remove `extends`, and with it files to watch.
        files, recorder, started = WatchedFiles(), CallRecorder(), time.monotonic()
        try:
            constitution = load_constitution(path, files.read)
            run = RunContext(config, constitution, config.run_folder, {"base": model})
            stages = (RESPOND, REVISE)  # a preview has no pairs
            result = await run_in_memory(
                prompts, run, session, recorder.recorded, stages=stages, on_progress=on_progress
            )
            counts = recorder.counts().values()
            last = Preview(
                constitution=constitution,
                rows=previewed_rows(result, constitution),
                problems=tuple(lint(path)),
                asked=sum(count.asked for count in counts),
                from_store=sum(count.stored for count in counts),
                seconds=time.monotonic() - started,
            )
        except (BrokenConstitution, ConfigError) as error:
            # At the beginning there is no earlier preview to show instead.
            if last is None:
                raise
            if isinstance(error, BrokenConstitution):
                problems = error.problems
            else:  # the file does not fit the config, such as a selected tag that no principle has any more
                fix = "Correct the file or the config."
                problems = (Problem(str(path), 0, "config", str(error).removesuffix("."), fix),)
            last = replace(last, problems=problems, asked=0, from_store=0, seconds=0.0, broken=True)
        yield last
        await files.saved()


def previewed_rows(result: MemoryRun, constitution: Constitution) -> tuple[PreviewedRow, ...]:
    """Each prompt with its answers, critiques and failure, in the order of the prompts."""
    titles = {principle.id: principle.title for principle in constitution.principles}
    responses = {row["row_id"]: row["response"] for row in result.tables["responses"]}
    rounds = defaultdict[str, list[CritiqueRound]](list)
    for row in result.tables["revisions"]:
        title = " + ".join(titles[part] for part in ids_in(row["principle_id"]))
        rounds[row["row_id"]].append(CritiqueRound.from_row(row, title))
    failures = {}
    for row in result.failures:
        named = ", ".join(f"'{titles[id]}'" for id in row["principle_ids"] or ())
        detail = f": {row['detail']}" if row["detail"].strip() else ""
        # A row leaves at its first failure, so there is one per row.
        failures[row["row_id"]] = f"{row['stage']}: {row['reason']}{f' under {named}' if named else ''}{detail}"
    return tuple(
        PreviewedRow(
            row_id=row["row_id"],
            kind=row["kind"],
            prompt=tuple(row["prompt"]),
            response=responses.get(row["row_id"]),
            rounds=tuple(rounds[row["row_id"]]),
            failure=failures.get(row["row_id"], ""),
        )
        for row in result.tables["prompts"]
    )
