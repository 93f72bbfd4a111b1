"""Charter turns a written constitution into an aligned model.

The names below are the Python interface; docs/python.md shows each in use. They are imported when first used, so that
`import charter` takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from charter.core.version import __version__

if TYPE_CHECKING:
    from charter.api import (
        Model,
        OpenJudge,
        Run,
        align,
        evaluate,
        lint_constitution,
        make_dataset,
        open_judge,
        open_model,
    )
    from charter.api import read_config as load_config
    from charter.api import read_constitution as load_constitution
    from charter.config import Config
    from charter.constitution import Constitution


__all__ = [
    "Config",
    "Constitution",
    "Model",
    "OpenJudge",
    "Run",
    "__version__",
    "align",
    "evaluate",
    "lint_constitution",
    "load_config",
    "load_constitution",
    "make_dataset",
    "open_judge",
    "open_model",
]

_MODULES = {"Config": "charter.config", "Constitution": "charter.constitution"}
_NAMES = {"load_config": "read_config", "load_constitution": "read_constitution"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'charter' has no attribute '{name}'")
    return getattr(import_module(_MODULES.get(name, "charter.api")), _NAMES.get(name, name))
