"""``charter sandbox``: look at the miniature world."""

from typing import Annotated

import typer

from charter.sandbox.world import kinds, pipeline_prompts

app = typer.Typer(help="The miniature world and its requests.", no_args_is_help=True)


@app.callback()
def _keep_subcommands() -> None:
    """The miniature world and its requests."""  # with a single command typer would otherwise drop its name


@app.command()
def prompts(
    n: Annotated[int, typer.Option(min=1, help="how many")] = 20,
    seed: Annotated[int, typer.Option(help="of the draw")] = 0,
) -> None:
    """Print some of the requests that a pipeline gets, with what kind they are."""
    typer.echo(f"kinds of harm: {', '.join(kinds())}\n")
    for request in pipeline_prompts(n, seed):
        typer.echo(f"{request.category:<12} {request.kind or '-':<22} {request.text}")
