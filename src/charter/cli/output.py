"""What the commands print alike: JSON for machines, and progress beside it."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def print_json(value: Any) -> None:
    """Print a value as JSON; times in ISO 8601, and paths as text."""

    def as_text(part: object) -> str:
        return part.isoformat() if isinstance(part, datetime) else str(part)

    typer.echo(json.dumps(value, ensure_ascii=False, indent=1, default=as_text))


def print_progress(line: str) -> None:
    """Print a line to stderr, so that with --json stdout holds nothing but JSON."""
    typer.echo(line, err=True)
