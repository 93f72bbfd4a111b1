"""Charter turns a written constitution into an aligned model.

The names below are the Python interface; docs/python.md shows each in use. They are imported when first used, so that
`import charter` takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from charter.core.version import __version__

if TYPE_CHECKING:
    from charter.api import Run, align, evaluate, lint_constitution, make_dataset, open_judge, open_model
    from charter.api import read_config as load_config
    from charter.api import read_constitution as load_constitution
    from charter.config import Config
    from charter.constitution import Constitution
    from charter.data.candidates import prompt_source
    from charter.pipeline.filters import answer_filter, pair_filter
    from charter.pipeline.judges.protocol import Judgement, judge
    from charter.pipeline.strategies import AnswerPair, strategy


__all__ = [
    "AnswerPair",
    "Config",
    "Constitution",
    "Judgement",
    "Run",
    "__version__",
    "align",
    "answer_filter",
    "evaluate",
    "judge",
    "lint_constitution",
    "load_config",
    "load_constitution",
    "make_dataset",
    "open_judge",
    "open_model",
    "pair_filter",
    "prompt_source",
    "strategy",
]

_ELSEWHERE = {  # by public name, the module that has it if that is not `charter.api`
    "AnswerPair": "charter.pipeline.strategies",
    "Config": "charter.config",
    "Constitution": "charter.constitution",
    "Judgement": "charter.pipeline.judges.protocol",
    "answer_filter": "charter.pipeline.filters",
    "judge": "charter.pipeline.judges.protocol",
    "pair_filter": "charter.pipeline.filters",
    "prompt_source": "charter.data.candidates",
    "strategy": "charter.pipeline.strategies",
}
# Modules have functions of these two names already, for paths alone.
_RENAMED = {"load_config": "read_config", "load_constitution": "read_constitution"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'charter' has no attribute '{name}'")
    return getattr(import_module(_ELSEWHERE.get(name, "charter.api")), _RENAMED.get(name, name))


def __dir__() -> list[str]:
    return __all__
