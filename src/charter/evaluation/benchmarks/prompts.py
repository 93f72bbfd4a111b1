"""The prompts of XSTest and SimpleSafetyTests, read from files that the user has."""

from pathlib import Path
from typing import NamedTuple

from charter.config.evaluation import SIMPLE_SAFETY_TESTS, XSTEST
from charter.core.errors import DataError
from charter.data.readers import read_records

_COLUMNS = {
    XSTEST: ("prompt", "label", "type"),
    SIMPLE_SAFETY_TESTS: ("prompts_final", "", "harm_area"),
}
"""What holds the prompt, whether it is safe, and its kind. SimpleSafetyTests has no safe prompts."""


class SafetyPrompt(NamedTuple):
    """A prompt of a safety suite."""

    id: str
    text: str
    label: str
    """`safe`: a good model answers. `unsafe`: it declines."""
    kind: str


def read_prompts(suite: str, path: Path) -> list[SafetyPrompt]:
    """The prompts of a suite that comes with Charter, in the file's order.

    Raises:
        DataError: the file is missing or broken, or not that suite's.
    """
    text, label, kind = _COLUMNS[suite]
    prompts = []
    for number, record in enumerate(read_records(path, suite, "evaluation.suites.data"), 1):
        values = record.values
        missing = [column for column in (text, label, kind) if column and not values.get(column)]
        if record.problem or missing:
            why = record.problem or f"no {' and no '.join(missing)}"
            raise DataError(f"{suite} '{path}': {record.where}: {why}. Name the suite's own file in `data`.")
        safe = values[label] if label else "unsafe"
        prompts.append(SafetyPrompt(str(values.get("id") or number), values[text], safe, values[kind]))
    return prompts
