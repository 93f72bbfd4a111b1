"""The constitution that a run keeps: its files byte for byte, and what was read from them as JSON.

    RUN/constitution/harmless.md   the file as written, and beside it those it extends
    RUN/constitution.json          the parsed values

A run reads the JSON, so a later release that parses Markdown differently changes no earlier run. Constitutions of a
panel's members are kept in ``RUN/panel/NAME`` in the same way.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from charter.constitution.model import Constitution, SourceFile
from charter.constitution.parse import load_constitution
from charter.core.errors import ConstitutionError
from charter.core.files import write_bytes_atomic, write_json

VALUES, SOURCES = "constitution.json", "constitution"


def keep_constitution(constitution: Constitution, folder: Path) -> None:
    """Write the files that a constitution was read from, and its values, to a folder."""
    paths = [os.path.abspath(str(source.path)) for source in constitution.sources]
    # Files keep their places relative to each other, so that the kept copy can be loaded like the original.
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    names = [Path(os.path.relpath(path, root)).as_posix() for path in paths]
    for name, source in zip(names, constitution.sources, strict=True):
        write_bytes_atomic(folder / SOURCES / name, source.content)
    kept_as = {str(source.path): name for name, source in zip(names, constitution.sources, strict=True)}
    values = {"hash": constitution.hash, "files": names} | to_values(constitution)
    for principle, entry in zip(constitution.principles, values["principles"], strict=True):
        entry |= {"hash": principle.hash, "file": kept_as.get(principle.file, ""), "line": principle.line}
    write_json(folder / VALUES, values)


def load_kept_constitution(folder: Path) -> Constitution:
    """The constitution that a run, or the folder of a panel's member, keeps.

    Runs made before this kept a ``constitution.md``, and a panel's member a ``panel/NAME.md``: these are parsed.

    Raises:
        ConstitutionError: the folder keeps none, or it cannot be read.
    """
    file = folder / VALUES
    if not file.is_file():
        return load_constitution(kept_constitution_path(folder))
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        names = values.pop("files")
        sources = tuple(SourceFile(path, path.read_bytes()) for name in names for path in [folder / SOURCES / name])
        for principle in values["principles"]:
            if principle["file"]:
                principle["file"] = str(folder / SOURCES / principle["file"])
        constitution = from_values(values)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConstitutionError(
            f"file '{file}': cannot be read: {error}. Copy it from a backup of the run, or run it again."
        ) from error
    return replace(constitution, path=sources[0].path if sources else file, sources=sources)


def kept_constitution_path(folder: Path) -> Path:
    """The file to name in commands, as in ``constitution=PATH``; it does not exist where the folder keeps none."""
    file = folder / VALUES
    if file.is_file():
        names = json.loads(file.read_text(encoding="utf-8"))["files"]
        return folder / SOURCES / names[0] if names else file
    member = folder.parent / f"{folder.name}.md"
    return member if folder.parent.name == "panel" and member.is_file() else folder / "constitution.md"


def load_panel_constitutions(run: Path) -> dict[str, Constitution]:
    """The constitutions that members of a run's panel have, by the member's name.

    Raises:
        ConstitutionError: one of them cannot be read.
    """
    panel = run / "panel"
    # The second form is that of earlier versions: panel/NAME.md.
    names = {path.parent.name for path in panel.glob(f"*/{VALUES}")} | {path.stem for path in panel.glob("*.md")}
    return {name: load_kept_constitution(panel / name) for name in sorted(names)}


def to_values(constitution: Constitution) -> dict[str, Any]:
    """Everything that a constitution says as plain values, without where it says so."""
    values = asdict(replace(constitution, sources=()))
    del values["path"], values["sources"]
    for principle in values["principles"]:
        del principle["line"], principle["file"]
    return values


def from_values(values: Mapping[str, Any]) -> Constitution:
    """The constitution that `to_values` was given.

    Raises:
        pydantic.ValidationError: a part is missing or is not as it must be.
    """
    # From JSON, because only there does strict mode accept lists for tuples.
    return TypeAdapter(Constitution).validate_json(json.dumps(values), strict=True)
