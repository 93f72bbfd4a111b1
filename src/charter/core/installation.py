"""Where Charter is installed: its checkout or wheel, what ships with it, and how to install what is missing."""

from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

DISTRIBUTION = "charter-alignment"
CHECKOUT = Path(__file__).resolve().parents[3]
"""The checkout that runs; for an installed wheel some folder of the environment, without a pyproject.toml."""


def install_hint(extra: str = "", package: str = "") -> str:
    """A command that installs the packages of one of Charter's extras, or one package that Charter depends on.

    No hint names Charter itself as something to download: its name on a package index may belong to someone else.
    """
    if (CHECKOUT / "pyproject.toml").is_file():
        # A path that can be pasted from where the user is.
        folder = "." if Path.cwd() == CHECKOUT else str(CHECKOUT)
        return f"pip install -e '{folder}[{extra}]'" if extra else f"pip install -e '{folder}'"
    try:
        known = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:  # copied without its metadata
        known = []
    wanted = []
    for one in known:
        # A requirement of an extra has a marker that is false without the extra.
        of_extra = one.marker is not None and not one.marker.evaluate({"extra": ""})
        if one.name == package or (extra and of_extra and one.marker and one.marker.evaluate({"extra": extra})):
            options = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
            wanted.append(f"'{one.name}{options}{one.specifier}'")
    return f"pip install {' '.join(wanted) or package or extra}"


def find_constitution(path: Path) -> Path:
    """The path itself, or the constitution that ships with Charter where nothing but its name is given.

    Only ``harmless.md`` and ``constitutions/harmless.md`` are looked up: a misspelt folder remains a mistake.
    """
    if path.exists() or path.parent not in (Path(), Path("constitutions")):
        return path
    # The wheel carries the folder inside the package; a checkout has it at the top, for people to edit.
    package = Path(__file__).resolve().parents[1]
    folders = (package / "constitutions", CHECKOUT / "constitutions")
    return next((folder / path.name for folder in folders if (folder / path.name).is_file()), path)
