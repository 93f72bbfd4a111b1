"""``charter judge``: how far a judge's labels can be trusted."""

import json
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError

from charter.config import Judge, JudgeKind, Serving
from charter.errors import ConfigError
from charter.judging.layouts import Format, parse_columns

app = typer.Typer(no_args_is_help=True, help="Know the judge before its labels are learnt.")


@app.callback()
def _group() -> None:
    """Know the judge before its labels are learnt."""  # without a callback, an only command has no name of its own


@app.command("audit")
def audit_command(
    data: Annotated[
        str, typer.Option(help="A file of labelled pairs; or sandbox, whose oracle labels them.")
    ] = "sandbox",
    format: Annotated[str, typer.Option(help=f"One of: {', '.join(get_args(Format))}.")] = "auto",
    column: Annotated[
        list[str] | None, typer.Option(help="NAME=COLUMN, such as better=chosen; once for each name that differs.")
    ] = None,
    constitution: Annotated[Path, typer.Option(help="Whose principles the judge is asked about.")] = Path(
        "constitutions/harmless.md"
    ),
    model: Annotated[
        str, typer.Option(help="sandbox, a model folder, or a hub id; vLLM is started for it.")
    ] = "sandbox",
    base_url: Annotated[
        list[str] | None, typer.Option(help="Instead, a server that already runs; once for each server.")
    ] = None,
    kind: Annotated[str, typer.Option(help=f"How it judges, one of: {', '.join(get_args(JudgeKind))}.")] = "choice",
    max_tokens: Annotated[
        int, typer.Option(min=1, help="reasoned, critic: the longest chain of thought or critique, in tokens.")
    ] = 512,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many pairs, drawn by the seed.")] = 400,
    principles: Annotated[int, typer.Option(min=1, help="Principles asked about each pair, each in both orders.")] = 3,
    tag: Annotated[list[str] | None, typer.Option(help="Only principles with this tag; once for each tag.")] = None,
    tie_margin: Annotated[
        float, typer.Option(min=0.0, max=0.499, help="Verdicts with |p - 1/2| at or under this are ties.")
    ] = 0.05,
    own: Annotated[
        list[str] | None, typer.Option(help="A name under which the judge's own answers stand in the data.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every draw.")] = 0,
    floor: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Exit status 1 if agreement may be lower than this.")
    ] = 0.8,
    out: Annotated[Path, typer.Option(help="The folder for audit.json, audit.html and the rows.")] = Path(
        "outputs/judge-audit"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Run the judge over labelled pairs; say how often it is right, how sure it is, and what misleads it.

    Exit status: 0 the judge can be used, 1 the lower end of its agreement's 95 % interval is below the floor.
    """
    # Servers, Parquet and numbers are needed by this command only.
    from charter.judging.session import AuditPlan, audit_judge
    from charter.judging.text import audit_text

    plan = AuditPlan(
        out=out,
        data=data,
        format=_known("--format", format, get_args(Format)),
        columns=parse_columns(column or []),
        constitution=constitution,
        model=model,
        serving=Serving(base_urls=tuple(base_url or ())),
        settings=_judge(
            kind=_known("--kind", kind, get_args(JudgeKind)),
            principles=principles,
            tags=tuple(tag or ()),
            tie_margin=tie_margin,
            max_tokens=max_tokens,
            min_agreement=floor,
        ),
        n=n,
        seed=seed,
        own=tuple(own or ()),
    )
    record, path = audit_judge(plan, lambda line: typer.echo(line, err=True))
    typer.echo(json.dumps(record, ensure_ascii=False, indent=1) if as_json else audit_text(record))
    typer.echo(f"Wrote {path} and {path.with_name('audit.html')}.", err=True)
    raise typer.Exit(0 if record["passed"] else 1)


def _judge(**values: Any) -> Judge:
    try:
        return Judge.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"--kind '{values['kind']}': {error.errors()[0]['msg']}.") from error


def _known(option: str, value: str, values: tuple[Any, ...]) -> Any:
    if value not in values:
        raise ConfigError(f"{option} '{value}': not known. Use one of: {', '.join(values)}.")
    return value
