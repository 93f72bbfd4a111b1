"""``charter data``: what a file of prompts, held-out requests or pairs holds, before a run reads it."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from charter.audit.layouts import PairLayout
from charter.config import Prompts
from charter.core.errors import DataError
from charter.core.messages import transcript
from charter.data.candidates import find_prompt_reader, read_candidates
from charter.data.conversations import UnusableRow
from charter.data.published import request_columns
from charter.data.readers import Record, read_records

app = typer.Typer(no_args_is_help=True, help="Look into files of data.")
_SHOWN = 3


@app.callback()
def data() -> None:
    """Look into files of data."""


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A file or folder of rows, or FOLDER:SPLIT.")],
) -> None:
    """Print the detected format, the first rows as Charter reads them, what would be skipped, and the config to use."""
    first = next((record for record in read_records(file, "data", "FILE") if not record.problem), None)
    if first is None:
        raise DataError(f"data '{file}': no row can be read. Repair the file; see what is wrong in its first lines.")
    uses = [use for use in (_as_prompts(file, first), _as_requests(file, first), _as_pairs(file, first)) if use]
    if not uses:
        raise DataError(
            f"data '{file}': no row can be used; the columns are {', '.join(map(str, first.values))}. Fill them, or "
            "name the column with the prompt as prompts.column, those of a pair as audit.columns."
        )
    typer.echo("\nUse it:\n" + "\n".join(f"  {use}" for use in uses))


def _as_prompts(file: Path, first: Record) -> str:
    settings = Prompts(source=str(file))
    try:
        reader = find_prompt_reader(settings, first)
    except DataError:
        return ""
    shown, reasons, examples, rows = list[str](), Counter[str](), dict[str, str](), 0
    for candidate in read_candidates(settings, seed=0):
        rows += 1
        if candidate.reason:
            reasons[candidate.reason] += 1
            examples.setdefault(candidate.reason, f"{candidate.where}: {candidate.detail}")
        elif len(shown) < _SHOWN:
            shown.append(f"{candidate.where}\n" + _indented(transcript(candidate.messages)))
    typer.echo(f"{file}: {reader.name}, {rows:,} rows, {rows - reasons.total():,} prompts")
    for reason, count in reasons.most_common():
        typer.echo(f"  {count:,} skipped as {reason}; {examples[reason][:200]}")
    if not shown:
        return ""
    typer.echo("\nThe first prompts as Charter reads them:\n" + "\n".join(shown))
    return f"prompts: {{source: {file}}}"


def _as_requests(file: Path, first: Record) -> str:
    if not request_columns(first.values, file).get("category"):
        return ""
    records = (record for record in read_records(file, "data", "FILE") if not record.problem)
    counts = Counter(str(request_columns(record.values, file).get("category")) for record in records)
    found = ", ".join(f"{count:,} {category}" for category, count in counts.most_common())
    return f"evaluation: {{source: {file}}}   # {found}"


def _as_pairs(file: Path, first: Record) -> str:
    layout = PairLayout(str(file), "auto", {})
    try:
        layout.read(first.where, first.values)
    except DataError:
        return ""
    except UnusableRow:  # of a known layout, but this row holds no pair
        pass
    readable = (record for record in islice(read_records(file, "data", "FILE"), 1000) if not record.problem)
    usable = 0
    for record in readable:
        try:
            layout.read(record.where, record.values)
            usable += 1
        except UnusableRow:
            continue
    return (
        f"charter judge audit --data {file}   # {layout.name}: {usable:,} pairs in the first 1,000 rows"
        if usable
        else ""
    )


def _indented(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(f"    {line[:160]}" for line in lines[:8]) + ("\n    …" if len(lines) > 8 else "")
