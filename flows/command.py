"""Flows from the command line: ``python -m flows.NAME CONFIG [section.field=value …]``."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import yaml

from charter.config import Config, load_config
from charter.errors import CharterError, ConfigError
from charter.evaluation.gate import Verdict
from charter.report.headline import headline_text
from charter.run import check


def run_from_command_line(flow: Callable[[Config], Coroutine[Any, Any, Verdict | None]]) -> None:
    """Run a flow with a YAML file and overrides; a user's mistake is one message and exit status 2.

    The exit status is 1 when the verdict is no-go, 130 after Ctrl-C.
    """
    arguments = _parse(flow.__doc__ or "")
    try:
        config = load_config(arguments.config, dict(map(_override, arguments.overrides)))
        check(config)
        verdict = asyncio.run(flow(config))
    except CharterError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command again continues: finished calls are kept.\n")
        raise SystemExit(130) from None
    if isinstance(verdict, Verdict):
        evaluation = json.loads((config.run_folder / "evaluation.json").read_text(encoding="utf-8"))
        sys.stdout.write("\n" + headline_text(evaluation, verdict.to_dict()) + "\n")
    sys.stdout.write(f"\nReport: {config.run_folder / 'report.html'}\n")
    if isinstance(verdict, Verdict) and verdict.verdict != "go":
        raise SystemExit(1)


def _parse(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", type=Path, help="a YAML file, such as configs/demo.yaml")
    parser.add_argument("overrides", nargs="*", help="settings to change, such as name=try prompts.n=50")
    return parser.parse_args()


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{text}': not a setting. Write it as section.field=value, such as prompts.n=50.")
    return key, yaml.safe_load(value)
