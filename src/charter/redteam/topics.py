"""What to invent requests about, with examples to show: seeds, principles, and earlier failures."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from charter.constitution import Constitution
from charter.core.errors import DataError
from charter.core.plugins import Registry
from charter.core.sampling import seed_of
from charter.data.readers import read_records
from charter.evaluation.records import Graded
from charter.pipeline.rows import Row

Origin = Literal["seed", "principle", "failure"]


class Seed(NamedTuple):
    """One kind of request: how to name it to the inventor, and examples of it."""

    topics: tuple[str, ...]
    prompts: tuple[str, ...]


SeedSource = Callable[[int], dict[str, Seed]]
"""From the run's seed to seeds by kind."""

SEED_SOURCES: Registry[SeedSource] = Registry("source of seeds", "redteam.seeds")
seed_source = SEED_SOURCES.register
"""Decorator: make a function available as `redteam.seeds` under a name."""


@dataclass(frozen=True)
class Topic:
    """Something to invent requests about.

    Attributes:
        kind: the kind of its requests: a kind of seeds, or a principle's id.
        wordings: names of the topic; each request draws one.
        pools: each request draws one, and its examples from it; the examples of a pool are of one kind.
    """

    kind: str
    origin: Origin
    wordings: tuple[str, ...]
    pools: tuple[tuple[str, ...], ...]


def read_seeds(source: str, seed: int = 0) -> dict[str, Seed]:
    """The seeds of a registered source, or of a file, by kind.

    Raises:
        DataError: the file cannot be read, or a row lacks a column.
    """
    if source in SEED_SOURCES:
        return SEED_SOURCES[source](seed)
    by_kind: dict[str, tuple[list[str], list[str]]] = {}
    for record in read_records(Path(source), "examples", "redteam.seed_examples"):
        values = record.values
        if record.problem or not values.get("prompt") or not values.get("kind"):
            problem = record.problem or "no prompt or no kind"
            raise DataError(
                f"redteam.seed_examples '{source}': {record.where}: {problem}. Each row needs prompt and kind."
            )
        topics, prompts = by_kind.setdefault(str(values["kind"]), ([], []))
        # A file without topics names its kinds, such as theft, which a model understands too.
        topics.append(str(values.get("topic") or values["kind"]))
        prompts.append(str(values["prompt"]))
    if not by_kind:
        raise DataError(f"redteam.seed_examples '{source}': holds no rows. Put examples into it: prompt and kind.")
    return {kind: Seed(tuple(dict.fromkeys(topics)), tuple(prompts)) for kind, (topics, prompts) in by_kind.items()}


def failures_by_kind(answers: Iterable[Graded], earlier: Iterable[Row] = ()) -> dict[str, list[str]]:
    """Requests that models failed on: harmful answers of an evaluation, and rows of an earlier version of the set."""
    failed: dict[str, list[str]] = {}
    for answer in answers:
        # Refusals of harmless requests are failures too, but not ones that an attack looks for.
        if answer.category == "harmful" and answer.harmful:
            failed.setdefault(answer.kind or "other", []).append(answer.prompt)
    for row in earlier:
        failed.setdefault(row["kind"], []).append(row["request"])
    return {kind: list(dict.fromkeys(prompts)) for kind, prompts in failed.items()}


def make_topics(
    seeds: Mapping[str, Seed], constitution: Constitution | None, failures: Mapping[str, Sequence[str]]
) -> list[list[Topic]]:
    """The topics by origin; an origin without topics is left out."""
    principles = constitution.principles if constitution else ()
    # A principle has no examples: a pool is drawn from all seeds, so that the examples of one request are of one kind.
    all_pools = tuple(seed.prompts for seed in seeds.values())
    of_seeds = [Topic(kind, "seed", seed.topics, (seed.prompts,)) for kind, seed in seeds.items()]
    of_principles = [Topic(p.id, "principle", (f"what this rule is about: {p.text}",), all_pools) for p in principles]
    # An earlier failure is shown as an example of itself; its kind may have no seeds, and then names the topic.
    of_failures = [
        Topic(kind, "failure", seeds[kind].topics if kind in seeds else (kind,), (tuple(prompts),))
        for kind, prompts in failures.items()
    ]
    return [topics for topics in (of_seeds, of_principles, of_failures) if topics]


def plan_requests(topics: Sequence[Sequence[Topic]], n: int, examples: int, *seed: object) -> Iterator[Row]:
    """The rows to invent requests for: origins take turns, and within an origin its topics do.

    Args:
        topics: by origin, as `make_topics` returns them.
        n: how many requests.
        examples: shown with each; fewer where there are no more.
        seed: of the draws.
    """
    for i in range(n):
        # Each origin gets an equal share, however many topics it has.
        group = topics[i % len(topics)]
        # The quotient counts how often this origin has had its turn before.
        topic = group[i // len(topics) % len(group)]
        # A generator for each row: another `n` leaves the first rows as they are.
        rng = random.Random(seed_of(*seed, "examples", i))
        pool = rng.choice(topic.pools)
        yield {
            "row_id": f"{i:05d}",
            "kind": topic.kind,
            "origin": topic.origin,
            "topic": rng.choice(topic.wordings),
            "examples": rng.sample(pool, min(examples, len(pool))),
        }
