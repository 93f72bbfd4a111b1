"""The command ``charter``: tools around a run. The run itself is a flow, ``python -m flows.align CONFIG``."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from charter import __version__
from charter.cli.audit import app as judge
from charter.cli.compare import compare_command
from charter.cli.constitution import app as constitution
from charter.cli.doctor import examine
from charter.cli.estimate import estimate_command
from charter.cli.explain import explain_command
from charter.cli.export import export_model_command
from charter.cli.export_dataset import export_command
from charter.cli.registry import accepted_command, promote_command, rollback_command
from charter.cli.sandbox import app as sandbox
from charter.cli.store import app as store
from charter.cli.trace import trace_command
from charter.core.errors import CharterError
from charter.core.files import disk_full_as_data_error

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A written constitution in, an aligned model and a verdict out.",
)
app.add_typer(constitution, name="constitution")
app.add_typer(judge, name="judge")
app.add_typer(sandbox, name="sandbox")
app.add_typer(store, name="store")
app.command("estimate")(estimate_command)
app.command("explain")(explain_command)
app.command("export")(export_command)
app.command("export-model")(export_model_command)
app.command("trace")(trace_command)
app.command("compare")(compare_command)
app.command("promote")(promote_command)
app.command("rollback")(rollback_command)
app.command("accepted")(accepted_command)


@app.command()
def doctor(
    folder: Annotated[Path, typer.Argument(help="where runs will be written")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say what is installed, what is missing, and what to do about it. Exit status 1 when something is missing."""
    findings = examine(folder)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'MEND'} {finding.name:<16} {finding.found}")
            if finding.advice:
                typer.echo(f"     {'':<16} {finding.advice}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command; a user's mistake is one message without a traceback, and exit status 2."""
    try:
        with disk_full_as_data_error():
            app()
    except CharterError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
