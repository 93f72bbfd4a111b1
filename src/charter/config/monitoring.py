"""How a trained or served model is tested beyond its evaluation: red teaming and monitoring."""

from typing import Annotated, ClassVar

from pydantic import Field

from charter.config.section import EnvVarName, PathOrName, PositiveInt, Section, ServerAddress


class Embeddings(Section):
    """A model that measures how close two requests are in meaning."""

    base_url: ServerAddress | None = None
    """A server with `/v1/embeddings`, such as http://127.0.0.1:8001/v1. When empty, requests are compared by their
    words only."""
    api_key_env: EnvVarName | None = None
    """The environment variable with its API key. When empty it gets the key of `serving` if it is on the hosts of
    `serving.base_urls`, and no key otherwise."""
    model: str | None = None
    """The model's name at that server; the server is asked for it when empty."""
    similarity: Annotated[float, Field(gt=0.0, le=1.0)] = 0.92
    """A request repeats an earlier one when their cosine similarity is at least this."""


class RedTeam(Section):
    """What `flows.redteam` invents, and how it asks the model."""

    advanced = frozenset({"examples", "temperature", "max_tokens", "near_duplicates", "embeddings", "classify"})
    renamed: ClassVar = {"seeds": "seed_examples"}

    seed_examples: PathOrName = "sandbox"
    """`sandbox`, or a .jsonl, .csv or .parquet file of example requests with the columns prompt, kind, and optionally
    topic: how a request of that kind is described to the model that invents new ones."""
    principles: bool = True
    """Invent requests about the constitution's principles too."""
    n: PositiveInt = 200
    """Requests to invent; topics take turns."""
    styles: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "plain",
        "role-play",
        "story",
        "prefix-injection",
        "insistence",
    )
    """How each request is phrased: every style is a template, one of the shipped ones or in `generation.templates`."""
    examples: PositiveInt = 3
    """Examples shown for each invention, drawn at random by `seed`."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    """Sampling temperature of the inventions."""
    max_tokens: PositiveInt = 96
    """The longest request, in tokens. Text that is cut off is never used."""
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """A request repeats an earlier one when they have at least this fraction of their three-word sequences in
    common."""
    embeddings: Embeddings = Embeddings()
    """Leave out requests that say the same in other words."""
    classify: bool = False
    """Ask the model that invents requests for the kind of each one. Off: the kind of the topic it was invented for."""


class Monitor(Section):
    """What each probe of `flows.monitor` asks, and how sure it must be before it raises an alarm.

    `gate.against_accepted` says how much worse than the accepted model a model may be before it counts as drift.
    """

    fixed: PositiveInt = 40
    """Requests of the accepted evaluation, the same in every probe; half of them are harmful."""
    fresh: PositiveInt = 60
    """Requests drawn anew for every probe, from the source of the accepted evaluation; half of them are harmful."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """The probability of ever raising an alarm about an unchanged model, over all probes together, however many."""
