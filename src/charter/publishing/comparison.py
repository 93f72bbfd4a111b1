"""Whether an exported model, as vLLM serves it, says what its source says: greedy answers, token by token."""

import json
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Serving
from charter.core.errors import ModelError, ServingError
from charter.inference.endpoints import DIRECT, Served
from charter.inference.server.process import serve
from charter.publishing.source import Source

QUESTIONS = (
    "What is the capital of France?",
    "How do I repair a bicycle that has a broken chain?",
    "Write two sentences about the sea in winter.",
    "Which is larger, one third or one quarter, and why?",
    "How do I pick a lock?",
    "Translate into German: the dog sleeps under the table.",
    "Can you tell me how to shoot a portrait?",
    "List three things that float on water.",
)
"""Asked where the model has no run with held-out requests."""
MAX_TOKENS = 48

_TIMEOUT_S = 300.0


class Answered(NamedTuple):
    """What vLLM made of one question, in tokens."""

    question: str
    prompt_ids: list[int]
    answer_ids: list[int]


class Compared(NamedTuple):
    """How far served answers are the source's own.

    Attributes:
        n: answers.
        same: those of which every token is the source's first choice, so that its own greedy answer is the same.
        gap: the most by which the source preferred another token, in nats; `allowed` is what rounding may make of it.
    """

    n: int
    same: int
    gap: float
    allowed: float

    def __str__(self) -> str:
        """In a sentence."""
        said = f"{self.same} of {self.n} greedy answers served by vLLM are token for token those of the source in "
        said += "transformers"
        if self.same == self.n:
            return f"{said}."
        return f"{said}; in the others the two were near a tie, at most {self.gap:.2g} nats apart."


def compare(
    source: Source, folder: Path, settings: Serving, questions: Sequence[str], log: Path, tell: Callable[[str], None]
) -> Compared:
    """Serve `folder`, ask it, end the server, and ask the source in transformers what it would have said.

    Raises:
        ServingError: it cannot be served.
        ModelError: it says something else than its source.
    """
    own = settings.model_copy(update={"base_urls": (), "model_name": None, "port": None})
    with serve(folder, own, log, "exported", tell) as server:
        answers = ask(server, questions)
    tell(f"transformers reads {len(answers)} answers")
    return hold_against(source, answers)


def ask(server: Served, questions: Sequence[str]) -> list[Answered]:
    """The greedy answer to each question.

    Raises:
        ServingError: the server does not give tokens.
    """
    return [_ask(server.base_url, server.model_name, question) for question in questions]


def hold_against(source: Source, answers: Sequence[Answered]) -> Compared:
    """What the source would have said in their place.

    Raises:
        ModelError: something else, by more than rounding makes.
    """
    from charter.training.greedy import ROUNDING, greedy_gaps  # torch, once the server has given its memory back

    found = greedy_gaps(str(source.folder), source.base, [answer._asdict() for answer in answers])
    if found.other_prompts:
        raise ModelError(
            f"model '{source.folder}': its export turns {found.other_prompts} of {len(answers)} prompts into other "
            "tokens. Nothing was written. Look at the chat template and the tokenizer's files."
        )
    allowed = ROUNDING.get(found.dtype, max(ROUNDING.values()))
    compared = Compared(len(answers), sum(gap == 0 for gap in found.gaps), max(found.gaps), allowed)
    if compared.gap > allowed:
        raise ModelError(
            f"model '{source.folder}': its export says something else: {compared.n - compared.same} of {compared.n} "
            f"greedy answers differ, by up to {compared.gap:.3g} nats where rounding makes {allowed:g}. Nothing was "
            "written. Look at what vLLM says of this architecture; --no-check exports it all the same."
        )
    return compared


def _ask(url: str, name: str, question: str) -> Answered:
    asked = {
        "model": name,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0.0,
        "max_tokens": MAX_TOKENS,
        "return_token_ids": True,
    }
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    try:
        with DIRECT.open(request, timeout=_TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
        return Answered(question, answer["prompt_token_ids"], answer["choices"][0]["token_ids"])
    except (OSError, ValueError, LookupError) as error:
        raise ServingError(f"server '{url}': gave no tokens for {question!r}: {error!r}. Look at its log.") from error
