"""``charter constitution preview``: what a constitution does, while it is being written."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from charter.config import Config, load_config
from charter.core.errors import ConfigError

_MOST_ROUNDS = 1000


def preview_command(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A constitution, such as constitutions/harmless.md.")],
    prompts: Annotated[str | None, typer.Option(help="A file of prompts, or 'sandbox'.")] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many prompts, drawn by the seed.")] = 5,
    model: Annotated[str | None, typer.Option(help="'sandbox', a model folder or a hub id, served by vLLM.")] = None,
    base_url: Annotated[
        list[str] | None, typer.Option(help="A running server, with the model that it has; repeat for several.")
    ] = None,
    rounds: Annotated[str | None, typer.Option(help="Rounds of critique and revision: a number, or 'all'.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page too, over the one before.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for machines, one line a time if watching.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again whenever the file is saved, until Ctrl-C.")] = False,
    store: Annotated[str | None, typer.Option(help="The store of completions; that of the runs if not given.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A run's YAML: its prompts, model, servers, generation, seed and store count.")
    ] = None,
) -> None:
    """Answer, critique and revise a handful of prompts under a constitution: before and after, side by side."""
    settings = _with_prompts(load_config(config) if config else Config(), prompts, n)
    settings = _with_model(settings, model, base_url)
    if rounds is not None:
        generation = settings.generation.model_copy(update={"rounds": _rounds(rounds)})
        settings = settings.model_copy(update={"generation": generation})
    if store is not None:
        settings = settings.model_copy(update={"store": store})
    from charter.views.preview.session import show_previews  # with polars and the servers: for this command only

    show_previews(path, settings, html, as_json, watch)


def _with_prompts(config: Config, source: str | None, n: int) -> Config:
    named = {} if source is None else {"source": source}
    return config.model_copy(update={"prompts": config.prompts.model_copy(update={"n": n, **named})})


def _with_model(config: Config, model: str | None, base_urls: list[str] | None) -> Config:
    """A server named on the command line goes before a model named there, and either before the config's."""
    changes: dict[str, object] = {} if model is None else {"model": model}
    if model is not None or base_urls:
        changes["serving"] = config.serving.model_copy(update={"base_urls": tuple(base_urls or ())})
    return config.model_copy(update=changes)


def _rounds(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if text.isdecimal() and 1 <= int(text) <= _MOST_ROUNDS:
        return int(text)
    raise ConfigError(f"--rounds '{text}': neither a number from 1 to {_MOST_ROUNDS} nor 'all'. Write --rounds 2.")
