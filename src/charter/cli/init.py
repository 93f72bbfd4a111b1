"""``charter init``: a folder to start from."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from charter.core.errors import ConfigError
from charter.core.installation import find_constitution


def init_command(
    folder: Annotated[Path, typer.Argument(help="A new or an empty folder; this one if not given.")] = Path(),
) -> None:
    """Write a starter charter.yaml, a constitution and ten prompts into an empty folder."""
    # Only into an empty folder: nothing of the user's can be overwritten.
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"folder '{folder}': not empty. Name a new one, such as: charter init my-first-run.")
    starter = files("charter.cli") / "starter"
    texts = {name: (starter / name).read_text(encoding="utf-8") for name in ("charter.yaml", "prompts.jsonl")}
    # The shipped one and not a copy of it, which could fall behind.
    texts["constitution.md"] = find_constitution(Path("harmless.md")).read_text(encoding="utf-8")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"folder '{folder}': cannot be written: {error.strerror}. Name another.") from error
    go_there = "" if folder == Path() else f"cd {folder} && "
    typer.echo(f"Wrote {', '.join(sorted(texts))} to {folder.resolve()}.\nNext: {go_there}charter align charter.yaml")
