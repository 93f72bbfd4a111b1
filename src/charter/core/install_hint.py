"""How to install what is missing, from a checkout or beside an installed wheel."""

from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

DISTRIBUTION = "charter-alignment"
_CHECKOUT = Path(__file__).resolve().parents[3]


def install_hint(extra: str = "", package: str = "") -> str:
    """A command that installs the packages of one of Charter's extras, or one package that Charter depends on.

    No hint names Charter itself as something to download: its name on a package index may belong to someone else.
    """
    if (_CHECKOUT / "pyproject.toml").is_file():
        folder = "." if Path.cwd() == _CHECKOUT else str(_CHECKOUT)
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
