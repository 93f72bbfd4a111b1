"""``charter judge``: how far a judge's labels can be trusted."""

import json
from pathlib import Path
from typing import Annotated, get_args

import typer

from charter.audit.layouts import parse_columns
from charter.cli.output import AsJson, print_progress
from charter.config import PairFormat, load_config
from charter.core.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Know the judge before its labels are learnt.")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Audit the judge that a run's YAML describes; options given here go before it."),
]
Source = Annotated[
    str | None,
    typer.Option(help="A file of labelled pairs; or sandbox, whose oracle labels them.", show_default="sandbox"),
]
FormatName = Annotated[
    str | None, typer.Option(help=f"One of: {', '.join(get_args(PairFormat))}.", show_default="auto")
]
Columns = Annotated[
    list[str] | None, typer.Option(help="NAME=COLUMN, such as better=chosen; once for each name that differs.")
]
ConstitutionFile = Annotated[
    Path | None,
    typer.Option(help="Whose principles the judge is asked about.", show_default="constitutions/harmless.md"),
]
Model = Annotated[
    str | None,
    typer.Option(help="sandbox, a model folder, or a hub id; vLLM is started for it.", show_default="sandbox"),
]
BaseUrls = Annotated[list[str] | None, typer.Option(help="Instead, a server that already runs; once for each server.")]
Kind = Annotated[
    str | None,
    typer.Option(
        help="How it judges: choice, reasoned, score, critic, or a judge that a plugin registers; a panel comes from "
        "--config.",
        show_default="choice",
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(help="reasoned, critic: the longest chain of thought or critique, in tokens.", show_default="512"),
]
Pairs = Annotated[int | None, typer.Option("--n", "-n", help="How many pairs, drawn by the seed.", show_default="400")]
Principles = Annotated[
    int | None, typer.Option(help="Principles asked about each pair, each in both orders.", show_default="3")
]
Tags = Annotated[list[str] | None, typer.Option(help="Only principles with this tag; once for each tag.")]
TieMargin = Annotated[
    float | None, typer.Option(help="Verdicts with |p - 1/2| at or under this are ties.", show_default="0.05")
]
Sensitivity = Annotated[
    int | None,
    typer.Option(
        min=0, help="Pairs judged under other principles too, to see whether it reads them.", show_default="100"
    ),
]
Own = Annotated[list[str] | None, typer.Option(help="A name under which the judge's own answers appear in the data.")]
Seed = Annotated[int | None, typer.Option(help="Of every draw.", show_default="0")]
Floor = Annotated[
    float | None, typer.Option(help="Exit status 1 if agreement may be lower than this.", show_default="0.8")
]
Out = Annotated[
    Path | None,
    typer.Option(help="The folder for audit.json, audit.html and the rows.", show_default="outputs/judge-audit"),
]

OUT = Path("outputs/judge-audit")


@app.callback()
def _group() -> None:
    """Know the judge before its labels are learnt."""  # without a callback, Typer drops the command's name


@app.command("audit")
def audit_command(
    config: ConfigFile = None,
    data: Source = None,
    format: FormatName = None,
    column: Columns = None,
    constitution: ConstitutionFile = None,
    model: Model = None,
    base_url: BaseUrls = None,
    kind: Kind = None,
    max_tokens: MaxTokens = None,
    n: Pairs = None,
    principles: Principles = None,
    tag: Tags = None,
    tie_margin: TieMargin = None,
    sensitivity: Sensitivity = None,
    own: Own = None,
    seed: Seed = None,
    floor: Floor = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Run the judge over labelled pairs; say how often it is right, how sure it is, and what misleads it.

    Exit status: 0 the judge can be used, 1 the lower end of its agreement's 95 % interval is below the floor.
    """
    if kind == "panel":
        raise ConfigError("--kind 'panel': a panel has members. Describe them in a config, and name it with --config.")
    if format is not None and format not in get_args(PairFormat):
        raise ConfigError(f"--format '{format}': not known. Use one of: {', '.join(get_args(PairFormat))}.")
    settings = {
        "audit.source": data,
        "audit.format": format,
        "audit.columns": parse_columns(column) if column else None,
        "constitution": constitution,
        "judge.model": model,
        # A model that is named here replaces the servers of the config.
        "judge.base_urls": base_url or ([] if model else None),
        "judge.kind": kind,
        "judge.max_tokens": max_tokens,
        "audit.n": n,
        "judge.principles": principles,
        "judge.tags": tag or None,
        "judge.tie_margin": tie_margin,
        "audit.sensitivity": sensitivity,
        "audit.own_names": own or None,
        "seed": seed,
        "judge.min_agreement": floor,
        "audit.output": out or (None if config else OUT),
    }
    # Only what was given here replaces a setting of the config.
    given = {field: value for field, value in settings.items() if value is not None}
    whole = load_config(config, given)
    # After loading: the source may come from the config.
    if column and whole.audit.source == "sandbox":
        raise ConfigError(f"--column '{column[0]}': the sandbox has no columns. Name a file of pairs with --data.")
    # Servers, Parquet and numbers are needed by this command only.
    from charter.audit.session import audit_judge
    from charter.report.audit_text import audit_text

    path = audit_judge(whole, print_progress)
    record = json.loads(path.read_text(encoding="utf-8"))
    typer.echo(json.dumps(record, ensure_ascii=False, indent=1) if as_json else audit_text(record))
    typer.echo(f"Wrote {path} and {path.with_name('audit.html')}.", err=True)
    raise typer.Exit(0 if record["passed"] else 1)
