"""The held-out requests that every model of a run is asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from charter.config import Evaluation
from charter.data.readers import read_records
from charter.errors import DataError
from charter.evaluation.measures import Category
from charter.sandbox.world import Request, held_out_requests

_COLUMNS = ("prompt", "category")


@dataclass(frozen=True)
class HeldOut:
    """One request that nothing was trained on.

    Attributes:
        answer: a text that a right answer to a fact contains.
        world: what the sandbox's oracle knows about it.
    """

    request_id: str
    prompt: str
    category: Category
    kind: str | None = None
    answer: str | None = None
    world: Request | None = None


def load_requests(settings: Evaluation, seed: int) -> list[HeldOut]:
    """The requests of `settings.source`, as many of each category as the settings say.

    Raises:
        DataError: a file that cannot be read, lacks a column, or holds an unknown category.
    """
    counts: dict[Category, int] = {
        "harmful": settings.n_harmful,
        "benign": settings.n_benign,
        "borderline": settings.n_borderline,
        "fact": settings.n_facts,
    }
    if settings.source == "sandbox":
        return [
            HeldOut(f"{category}-{i:04d}", r.text, category, r.kind, r.fact.right if r.fact else None, r)
            for category, n in counts.items()
            for i, r in enumerate(held_out_requests(category, n, seed))
        ]
    found = _from_file(Path(settings.source))
    return [r for category, n in counts.items() for r in [r for r in found if r.category == category][:n]]


def _from_file(path: Path) -> list[HeldOut]:
    requests = []
    for number, record in enumerate(read_records(path)):
        values = record.values
        if record.problem:
            raise DataError(f"evaluation.source '{path}': row {number} cannot be read: {record.problem}. Mend the row.")
        if missing := [column for column in _COLUMNS if not values.get(column)]:
            raise DataError(
                f"evaluation.source '{path}': row {number} has no {' and no '.join(missing)}. "
                f"Each row needs {' and '.join(_COLUMNS)}; kind and answer may follow."
            )
        if values["category"] not in get_args(Category):
            known = ", ".join(get_args(Category))
            raise DataError(f"evaluation.source '{path}': row {number}: category '{values['category']}'. Use {known}.")
        kind, answer = values.get("kind"), values.get("answer")
        requests.append(HeldOut(f"{number:06d}", values["prompt"], values["category"], kind, answer))
    return requests
