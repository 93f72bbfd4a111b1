"""What a constitution makes of a handful of prompts: respond, critique and revise, without a run around them."""

import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Config, Generation
from charter.constitution.diff import words
from charter.constitution.lint import lint
from charter.constitution.model import Constitution, ids_in
from charter.constitution.parse import load_constitution
from charter.constitution.problems import BrokenConstitution, Problem
from charter.core.errors import ConfigError
from charter.core.messages import Message, transcript
from charter.inference.engine import Engine
from charter.pipeline.respond import respond
from charter.pipeline.revise import revise
from charter.pipeline.rows import Context, OnProgress, Outcome, Row
from charter.views.preview.saves import Files


class Round(NamedTuple):
    """One critique and what became of the answer; `number` counts from 1."""

    number: int
    principle_id: str
    principle_title: str
    flagged: bool
    critique: str
    revision: str
    changed: bool

    @property
    def verdict(self) -> str:
        """In the critique's own word."""
        return "violated" if self.flagged else "respected"


@dataclass(frozen=True)
class PreviewedRow:
    """One prompt on its way. A row that failed says where and why, and has no final answer."""

    row_id: str
    kind: str | None
    prompt: tuple[Message, ...]
    response: str | None
    rounds: tuple[Round, ...]
    failure: str = ""

    @property
    def final(self) -> str | None:
        """The answer after the last round."""
        return None if self.failure or not self.rounds else self.rounds[-1].revision

    @property
    def changed(self) -> bool:
        """Whether the final answer is another one than the first."""
        return self.final is not None and self.final != self.response

    @property
    def question(self) -> str:
        """The prompt as one text."""
        return self.prompt[0]["content"] if len(self.prompt) == 1 else transcript(self.prompt)

    def to_dict(self) -> dict[str, Any]:
        """As plain values; `words` tells the first response and the final answer apart."""
        differ = words(self.response or "", self.final or "") if self.changed else ()
        return {
            "row_id": self.row_id,
            "kind": self.kind,
            "prompt": [dict(message) for message in self.prompt],
            "response": self.response,
            "rounds": [{**one._asdict(), "verdict": one.verdict} for one in self.rounds],
            "final": self.final,
            "changed": self.changed,
            "words": [piece._asdict() for piece in differ],
            "failure": self.failure,
        }


@dataclass(frozen=True)
class Preview:
    """What one version of the file does.

    Attributes:
        law: the constitution; the last one that could be read, if the file is `broken`.
        rows: in the order of the prompts; they belong to `law`.
        problems: what `lint` says about the file.
        asked: calls that the model answered.
        from_store: calls that had been answered before.
        seconds: how long it took.
        broken: the file cannot be read as it stands.
    """

    law: Constitution
    rows: tuple[PreviewedRow, ...]
    problems: tuple[Problem, ...]
    asked: int
    from_store: int
    seconds: float
    broken: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        law = self.law
        return {
            "constitution": {"file": str(law.path), "name": law.name, "version": law.version, "hash": law.hash},
            "broken": self.broken,
            "problems": [problem._asdict() for problem in self.problems],
            "rows": [row.to_dict() for row in self.rows],
            "asked": self.asked,
            "from_store": self.from_store,
            "seconds": round(self.seconds, 3),
        }


async def previews(
    path: Path,
    prompts: Sequence[Row],
    engine: Engine,
    identity: str,
    config: Config,
    on_progress: OnProgress | None = None,
) -> AsyncGenerator[Preview, None]:
    """The preview of a file, then one more whenever it, or one that it extends, has been saved; without end.

    Completions are kept by what was asked, so a save asks only for the rows that saw what was edited. A save that
    breaks the file gives the preview before it once more, with the problems.

    Args:
        path: the constitution.
        prompts: rows of ``prompts``.
        engine: asks the model, the store first.
        identity: of the model's weights.
        config: its seed and its settings of generation count.
        on_progress: told of each row done.

    Raises:
        ConstitutionError, ConfigError: the file cannot be used to begin with.
        ServingError: the servers are gone.
    """
    last: Preview | None = None
    while True:
        files = Files()
        try:
            last = await _preview(path, files, prompts, engine, identity, config, on_progress)
        except (BrokenConstitution, ConfigError) as error:
            if last is None:
                raise
            last = replace(last, problems=_problems(error, path), asked=0, from_store=0, seconds=0.0, broken=True)
        yield last
        await files.saved()


async def _preview(
    path: Path,
    files: Files,
    prompts: Sequence[Row],
    engine: Engine,
    identity: str,
    config: Config,
    on_progress: OnProgress | None,
) -> Preview:
    began, before, settings = time.monotonic(), engine.stats, config.generation
    law = load_constitution(path, files.read)
    context = Context(engine.ask, law, config.seed, identity, settings.templates, settings.preface)
    rows = await preview_rows(prompts, context, settings, on_progress)
    after = engine.stats
    return Preview(
        law=law,
        rows=rows,
        problems=tuple(lint(path)),
        asked=after.asked - before.asked,
        from_store=after.from_store - before.from_store,
        seconds=time.monotonic() - began,
    )


def _problems(error: BrokenConstitution | ConfigError, path: Path) -> tuple[Problem, ...]:
    """Those of the file; or that it does not fit the config, such as a tag that was selected and is gone."""
    if isinstance(error, BrokenConstitution):
        return error.problems
    return (Problem(str(path), 0, "config", str(error).removesuffix("."), "Correct the file or the config."),)


async def preview_rows(
    prompts: Sequence[Row], context: Context, settings: Generation, on_progress: OnProgress | None = None
) -> tuple[PreviewedRow, ...]:
    """Every prompt's way through the stages, in the order of the prompts.

    Raises:
        ServingError: the servers are gone.
    """
    answered = await respond(prompts, context, settings, on_progress)
    revised = await revise(answered.rows, context, settings, on_progress)
    return _joined(prompts, answered, revised, {p.id: p.title for p in context.constitution.principles})


def _joined(
    prompts: Sequence[Row], answered: Outcome, revised: Outcome, titles: dict[str, str]
) -> tuple[PreviewedRow, ...]:
    responses = {row["row_id"]: row["response"] for row in answered.rows}
    failures = {row["row_id"]: _failure(row, titles) for row in (*answered.failures, *revised.failures)}
    rounds = defaultdict[str, list[Round]](list)
    for row in revised.rows:
        rounds[row["row_id"]].append(_round(row, titles))
    return tuple(
        PreviewedRow(
            row_id=id,
            kind=row["kind"],
            prompt=tuple(row["prompt"]),
            response=responses.get(id),
            rounds=tuple(rounds[id]),
            failure=failures.get(id, ""),
        )
        for row in prompts
        for id in [row["row_id"]]
    )


def _round(row: Row, titles: dict[str, str]) -> Round:
    id = row["principle_id"]
    title = " + ".join(titles[part] for part in ids_in(id))
    kept = {name: row[name] for name in ("flagged", "critique", "revision", "changed")}
    return Round(number=row["round"] + 1, principle_id=id, principle_title=title, **kept)


def _failure(row: Row, titles: dict[str, str]) -> str:
    under = ", ".join(f"'{titles[id]}'" for id in row.get("principle_ids") or ())
    return f"{row['stage']}: {row['reason']}{f' under {under}' if under else ''}{_detail(row['detail'])}"


def _detail(text: str) -> str:
    return f": {text}" if text.strip() else ""
