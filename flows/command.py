"""Flows from the command line: ``python -m flows.NAME CONFIG [section.field=value …]``."""

import argparse
import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from textwrap import fill
from typing import Any

from prefect import Flow
from prefect.exceptions import ParameterTypeError

from charter.config import Config, load_config, read_override
from charter.core.errors import BudgetSpent, CharterError, ConfigError, Interrupted, NotApproved, PeopleAsked
from charter.core.files import disk_full_as_data_error
from charter.evaluation.gate import Verdict
from charter.report.headline import headline_text
from charter.runs.preflight import check
from flows.keys import api_key
from flows.temporary_server import start_server

STATUS = (
    "Exit status: 0 done, 1 no-go, under the floor or drifted, 2 a mistake that the message names, 3 the budget is "
    "spent, 4 people are asked, 130 Ctrl-C. After 3, 4 and 130 the same command goes on where it ended."
)
SETTINGS = "All settings, each with what it does, are in src/charter/config/ and in the form that `make ui` shows."
STATUSES: dict[type[CharterError], int] = {NotApproved: 1, BudgetSpent: 3, PeopleAsked: 4, Interrupted: 130}


def end_of_run(config: Config, verdict: Verdict | None) -> bool:
    """Print the verdict, if there is one, and where the report is; whether all is well."""
    if verdict is not None:
        evaluation = json.loads((config.run_folder / "evaluation.json").read_text(encoding="utf-8"))
        sys.stdout.write("\n" + headline_text(evaluation, verdict.to_dict()) + "\n")
    if (page := config.run_folder / "report.html").is_file():
        sys.stdout.write(f"\nReport: {page}\n")
    return verdict is None or verdict.verdict == "go"


def run_from_command_line(
    flow: Flow[..., Coroutine[Any, Any, Any]],
    check: Callable[..., None] = check,
    end: Callable[[Config, Any], bool] = end_of_run,
) -> None:
    """Run a flow with a YAML file and overrides; a user's mistake is one message and exit status 2.

    What the flow takes besides the config is given like a setting, ``dataset=outputs/data``. The exit status is 1 when
    the verdict is no-go, 3 when the budget is spent, 4 when people have to answer first, 130 after Ctrl-C.

    Args:
        flow: what to run.
        check: is given all that the flow is, before Prefect starts, which takes seconds.
        end: is given the config and what the flow returned, to print it; the exit status is 1 where it says False.
    """
    arguments = _parse(flow)
    try:
        settings = dict(map(read_override, arguments.overrides))
        others = {name: settings.pop(name) for name in _others(flow) if name in settings}
        config = load_config(arguments.config, settings)
        given = _complete(flow, {"config": config, **others})
        with disk_full_as_data_error():
            with api_key(config.serving):
                check(**given)
            start_server()
            ended = asyncio.run(flow(**given))
    except CharterError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 2)) from None
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command again continues: finished calls are kept.\n")
        raise SystemExit(130) from None
    if not end(config, ended):
        raise SystemExit(1)


def _parse(flow: Flow[..., Any]) -> argparse.Namespace:
    """The command line; the module's docstring ends with an example of it, which --help shows."""
    module = f"flows.{Path(inspect.getfile(flow.fn)).stem}"
    *_, example = (flow.fn.__globals__["__doc__"] or "").strip().split("\n\n")
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=inspect.cleandoc(flow.__doc__ or ""),
        epilog=f"{fill(SETTINGS)}\n\nexample:\n  {example}\n\n{fill(STATUS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="a YAML file, such as configs/demo.yaml")
    others = "".join(f", {name}=VALUE" for name in _others(flow))
    parser.add_argument("overrides", nargs="*", help=f"settings to change, such as name=try prompts.n=50{others}")
    return parser.parse_args()


def _others(flow: Flow[..., Any]) -> dict[str, inspect.Parameter]:
    """What the flow takes besides its config."""
    return {name: taken for name, taken in inspect.signature(flow.fn).parameters.items() if name != "config"}


def _complete(flow: Flow[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """The flow's parameters as the types that it declares.

    Raises:
        ConfigError: one is missing, or of another type.
    """
    for name, taken in _others(flow).items():
        if name not in given and taken.default is inspect.Parameter.empty:
            raise ConfigError(f"{name} '': not given. Write {name}=VALUE after the config; --help says what it is.")
    try:
        return flow.validate_parameters(given)
    except ParameterTypeError as error:
        raise ConfigError(f"{', '.join(set(given) - {'config'})}: {error}") from error
