"""``charter constitution preview``: what a constitution does, while it is being written."""

from pathlib import Path
from typing import Annotated

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
    settings = load_config(config) if config else Config()
    source = settings.prompts.source if prompts is None else prompts
    changes: dict[str, object] = {"prompts": settings.prompts.model_copy(update={"n": n, "source": source})}
    if model is not None:
        changes["model"] = model
    # A server named here goes before a model named here, and either before the config's.
    if model is not None or base_url:
        changes["serving"] = settings.serving.model_copy(update={"base_urls": tuple(base_url or ())})
    if rounds is not None:
        if rounds != "all" and not (rounds.isdecimal() and 1 <= int(rounds) <= _MOST_ROUNDS):
            raise ConfigError(
                f"--rounds '{rounds}': neither a number from 1 to {_MOST_ROUNDS} nor 'all'. Write --rounds 2."
            )
        number = rounds if rounds == "all" else int(rounds)
        changes["generation"] = settings.generation.model_copy(update={"rounds": number})
    if store is not None:
        changes["store"] = store
    settings = settings.model_copy(update=changes)
    from charter.views.preview.session import show_previews  # with polars and the servers: for this command only

    show_previews(path, settings, html, as_json, watch)
