"""The command ``charter``: one front door to flows, constitutions, runs, models and this machine.

Exit status of every command: 0 done, 1 the answer is no (no-go, mistakes found, something missing), 2 invalid input,
3 the budget is spent, 4 waiting for people, 5 no data, 70 crashed, 130 Ctrl-C.
"""

import sys

import typer

from charter.cli.audit import app as judge
from charter.cli.compare import compare_command
from charter.cli.config import app as config
from charter.cli.constitution import app as constitution
from charter.cli.data import app as data
from charter.cli.doctor import doctor_command
from charter.cli.estimate import estimate_command
from charter.cli.explain import explain_command
from charter.cli.export import export_model_command
from charter.cli.export_dataset import export_dataset_command
from charter.cli.flows import FLOWS, flow_command
from charter.cli.init import init_command
from charter.cli.models import app as models
from charter.cli.registry import accepted_command, promote_command, rollback_command
from charter.cli.sandbox import app as sandbox
from charter.cli.store import app as store
from charter.cli.trace import trace_command
from charter.cli.ui import app as ui
from charter.core.crash import describe_crash
from charter.core.errors import CharterError
from charter.core.files import disk_full_as_data_error
from charter.core.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # messages and help contain brackets, which Rich would read as its markup
    help="A written constitution in, an aligned model and a verdict out.",
    epilog="Exit status: 0 done, 1 no-go or mistakes found, 2 invalid input, 3 budget spent, 4 waiting for people, "
    "5 no data, 70 crashed.",
)
app.command("init")(init_command)
for _name in FLOWS:
    # A flow parses its own arguments, --help included, so that `charter --help` need not import Prefect.
    _arguments = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(_name, help=FLOWS[_name].help, context_settings=_arguments, add_help_option=False)(flow_command)
app.command("estimate")(estimate_command)
app.command("trace")(trace_command)
app.command("explain")(explain_command)
app.command("compare")(compare_command)
app.command("export")(export_dataset_command)
app.command("export-model")(export_model_command)
app.command("promote")(promote_command)
app.command("rollback")(rollback_command)
app.command("accepted")(accepted_command)
app.command("doctor")(doctor_command)
app.add_typer(config, name="config")
app.add_typer(constitution, name="constitution")
app.add_typer(data, name="data")
app.add_typer(judge, name="judge")
app.add_typer(models, name="models")
app.add_typer(sandbox, name="sandbox")
app.add_typer(store, name="store")
app.add_typer(ui, name="ui")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command. A user's mistake is one message without a traceback, and the error's exit status."""
    try:
        with disk_full_as_data_error():
            app()
    except CharterError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_status) from None
    except Exception as error:
        message, status = describe_crash(error)
        sys.stderr.write(f"{message}\n")
        raise SystemExit(status) from None
