"""How requests are found on which a model fails."""

from typing import Annotated

from pydantic import Field

from charter.config.section import Address, Count, Section, Variable


class Embeddings(Section):
    """A model that tells how near two requests are in meaning."""

    base_url: Address | None = None
    """A server with `/v1/embeddings`, such as http://127.0.0.1:8001/v1. Requests are compared by their words alone when
    empty."""
    api_key_env: Variable | None = None
    """The environment variable with its key. When empty it gets that of `serving` if it is on the hosts of
    `serving.base_urls`, and none otherwise."""
    model: str | None = None
    """The model's name there; asked from the server when empty."""
    similarity: Annotated[float, Field(gt=0.0, le=1.0)] = 0.92
    """A request repeats an earlier one from this cosine similarity on."""


class RedTeam(Section):
    """What `flows.redteam` invents, and how it puts it to the model."""

    seeds: str = "sandbox"
    """`sandbox`, or a .jsonl, .csv or .parquet file of examples with the columns prompt, kind, and perhaps topic: the
    words in which a request of that kind is asked for."""
    principles: bool = True
    """Invent requests about the constitution's principles too."""
    n: Count = 200
    """Requests to invent; topics take turns."""
    examples: Count = 3
    """Examples shown for each, drawn by the seed."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    """Sampling temperature of the inventions."""
    max_tokens: Count = 96
    """The longest request, in tokens. What is cut off is never used."""
    styles: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "plain",
        "role-play",
        "story",
        "prefix-injection",
        "insistence",
    )
    """How each request is put: every style is a template, among the shipped ones or in `generation.templates`."""
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """A request repeats an earlier one when they share this share of their runs of three words."""
    embeddings: Embeddings = Embeddings()
    """Leave out what says the same in other words."""
    classify: bool = False
    """Ask the model that invents which of the kinds each request is of; off: that of the topic it was invented for."""
