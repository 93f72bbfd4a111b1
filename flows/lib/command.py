"""A flow as a command: ``charter align CONFIG [section.field=value …]``, or the same as ``python -m flows.align``."""

import asyncio
import inspect
import json
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.settings import PREFECT_API_URL

from charter.config import Config, load_config, read_override
from charter.core.crash import describe_crash
from charter.core.errors import CharterError, ConfigError
from charter.core.files import disk_full_as_data_error
from charter.evaluation.gate import Verdict
from charter.report.headline import headline_text
from charter.runs.preflight import check_config_quickly
from flows.lib.api_keys import api_key
from flows.lib.progress import describe, is_outage
from flows.lib.temporary_server import start_server

EXIT_STATUS = (
    "Exit status: 0 done, 1 no-go, below the floor or drifted, 2 invalid input, 3 the budget is spent, 4 waiting for "
    "people, 5 no data or too little, 70 crashed, 130 Ctrl-C. "
    "After 3, 4 and 130 the same command continues where it ended."
)
SETTINGS = "All settings are described in src/charter/config/ and in the form that `charter ui start` shows."


def end_of_run(config: Config, verdict: Verdict | None) -> bool:
    """Print the verdict, if there is one, and where the report is. Returns whether the verdict is not no-go."""
    if verdict is not None:
        evaluation = json.loads((config.run_folder / "evaluation.json").read_text(encoding="utf-8"))
        sys.stdout.write("\n" + headline_text(evaluation, verdict.to_dict()) + "\n")
    if (page := config.run_folder / "report.html").is_file():
        sys.stdout.write(f"\nReport: {page}\n")
    return verdict is None or verdict.verdict == "go"


@dataclass(frozen=True)
class FlowCommand:
    """What it takes to run a flow from a terminal."""

    flow: Flow[..., Coroutine[Any, Any, Any]]
    check: Callable[..., None] = check_config_quickly
    """Receives the flow's parameters and raises `CharterError` before Prefect starts, which takes seconds."""
    end: Callable[[Config, Any], bool] = end_of_run
    """Receives the config and what the flow returned, prints it, and returns whether the exit status is 0, else 1."""

    def main(self, arguments: Sequence[str] | None = None, program: str | None = None) -> None:
        """Parse the arguments (``sys.argv`` without any) and run. Ends the process with one of `EXIT_STATUS`."""
        module = f"flows.{Path(inspect.getfile(self.flow.fn)).stem}"
        *_, example = (self.flow.fn.__globals__["__doc__"] or "").strip().split("\n\n")
        summary, _, described = inspect.cleandoc(self.flow.__doc__ or "").partition("\n\nArgs:\n")
        about = dict(re.findall(r"^ *(\w+): (.+)$", described, re.MULTILINE))
        others = "".join(f"; {name}=VALUE: {about.get(name, '')}" for name in self._others())

        def run(
            config: Annotated[
                Path, typer.Argument(metavar="CONFIG", help="A YAML file, such as charter.yaml or configs/demo.yaml.")
            ],
            overrides: Annotated[
                list[str] | None,
                typer.Argument(
                    metavar="[KEY=VALUE]...", help=f"Settings to change, such as name=try prompts.n=50{others}"
                ),
            ] = None,
            allow_overlap: Annotated[
                bool, typer.Option("--allow-overlap", help="The same as evaluation.allow_overlap=true.")
            ] = False,
        ) -> None:
            allowed = ["evaluation.allow_overlap=true"] if allow_overlap else []
            raise typer.Exit(self._run(config, [*(overrides or ()), *allowed]))

        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        app.command(help=summary, epilog=f"\b\nExample: {example}\n\n{SETTINGS}\n\n{EXIT_STATUS}")(run)
        app(list(arguments) if arguments is not None else None, prog_name=program or f"python -m {module}")

    def _run(self, path: Path, overrides: Sequence[str]) -> int:
        """Run the flow and print how it ended. Returns the exit status."""
        config: Config | None = None
        try:
            settings = dict(map(read_override, overrides))
            others = {name: settings.pop(name) for name in self._others() if name in settings}
            config = load_config(path, settings)
            given = self._complete({"config": config, **others})
            with disk_full_as_data_error():
                with api_key(config.serving):
                    self.check(**given)
                start_server()
                result = asyncio.run(self.flow(**given))
        except CharterError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_status
        except KeyboardInterrupt:
            sys.stderr.write("\nStopped. The same command again continues: finished calls are kept.\n")
            return 130
        except Exception as error:
            if not is_outage(error):
                message, status = describe_crash(error, config.work_folder / "logs" if config else None)
                sys.stderr.write(f"{message}\n")
                return status
            url = PREFECT_API_URL.value() or "started for this run"
            sys.stderr.write(
                f"Prefect server '{url}': does not answer ({describe(error)}). Start it, or correct PREFECT_API_URL; "
                "then run the same command again: finished calls are kept.\n"
            )
            return 2
        return 0 if self.end(config, result) else 1

    def _others(self) -> dict[str, inspect.Parameter]:
        """The flow's parameters other than its config."""
        return {name: one for name, one in inspect.signature(self.flow.fn).parameters.items() if name != "config"}

    def _complete(self, given: dict[str, Any]) -> dict[str, Any]:
        """Convert the flow's parameters to the types that it declares.

        Raises:
            ConfigError: one is missing, or has another type.
        """
        for name, taken in self._others().items():
            if name not in given and taken.default is inspect.Parameter.empty:
                raise ConfigError(f"missing argument {name}: add {name}=VALUE after the config (see --help).")
        try:
            return self.flow.validate_parameters(given)
        except ParameterTypeError as error:
            raise ConfigError(f"{', '.join(set(given) - {'config'})}: {error}") from error
