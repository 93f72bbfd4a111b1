"""Registers the sandbox's model, prompts, held-out requests, exact grades, red-team seeds, labelled pairs and facts.

Named by the entry point of the group ``charter.plugins``. Importing it reads no file of the sandbox: the world's tables
are read when something is asked for.
"""

from collections.abc import Iterator

from charter.config import Prompts
from charter.core.plugins import SHIPPED_MODELS
from charter.data.candidates import prompt_source
from charter.sandbox import MODEL, facts, held_out, pairs, redteam, scenarios
from charter.sandbox.world import pipeline_prompts

__all__ = ["facts", "held_out", "pairs", "redteam", "scenarios"]  # imported because each registers something

SHIPPED_MODELS.add("sandbox", MODEL)


@prompt_source("sandbox")
def sandbox_prompts(settings: Prompts, seed: int) -> Iterator[dict[str, str | None]]:
    """The requests of a pipeline, without anything held out."""
    for request in pipeline_prompts(settings.n, seed):
        yield {"prompt": request.text, "kind": request.kind}
