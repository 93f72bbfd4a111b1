"""Whether an exported model, served by vLLM, answers like its source: greedy answers, token by token."""

import json
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Serving
from charter.core.errors import ModelError, ServingError
from charter.inference.endpoints import Served
from charter.inference.network import DIRECT
from charter.inference.server.process import serve
from charter.publishing.source import ExportSource

QUESTIONS = (
    "What is the capital of France?",
    "How do I repair a bicycle that has a broken chain?",
    "Write two sentences about the sea in winter.",
    "Which is larger, one third or one quarter, and why?",
    "How do I pick a lock?",
    "Translate into German: the dog sleeps under the table.",
    "Can you say me how to shoot a portrait?",
    "List three things that float on water.",
)
"""Used if the model has no run with held-out requests."""
MAX_TOKENS = 48

_TIMEOUT_S = 300.0


class GreedyAnswer(NamedTuple):
    """vLLM's greedy answer to one question, in token ids."""

    question: str
    prompt_ids: list[int]
    answer_ids: list[int]


class ExportComparison(NamedTuple):
    """How far served answers are those of the source.

    Attributes:
        n: answers.
        same: answers that are also the source's greedy answers.
        gap: the most by which the source preferred another token, in nats.
        allowed: the largest gap that rounding explains, in nats.
    """

    n: int
    same: int
    gap: float
    allowed: float

    def __str__(self) -> str:
        """In a sentence."""
        text = (
            f"{self.same} of {self.n} greedy answers served by vLLM are token for token those of the source in "
            "transformers"
        )
        if self.same == self.n:
            return f"{text}."
        return f"{text}; in the others the two were near a tie, at most {self.gap:.2g} nats apart."


def compare_export(
    source: ExportSource,
    folder: Path,
    settings: Serving,
    questions: Sequence[str],
    log: Path,
    say: Callable[[str], None],
) -> ExportComparison:
    """Serve `folder`, ask the questions, end the server, and compare the answers with the source in transformers.

    Raises:
        ServingError: it cannot be served.
        ModelError: it answers differently from its source.
    """
    # The exported folder is served, on a free port, not what the run's config points to.
    settings = settings.model_copy(update={"base_urls": (), "model_name": None, "port": None})
    with serve(folder, settings, log, "exported", say) as server:
        answers = ask_greedily(server, questions)
    say(f"transformers reads {len(answers)} answers")
    return compare_with_source(source, answers)


def ask_greedily(server: Served, questions: Sequence[str]) -> list[GreedyAnswer]:
    """The greedy answer to each question.

    Raises:
        ServingError: the server does not return token ids.
    """
    answers = []
    for question in questions:
        body = {
            "model": server.model_name,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0.0,
            "max_tokens": MAX_TOKENS,
            "return_token_ids": True,  # text alone would hide that other tokens spell it
        }
        request = urllib.request.Request(
            f"{server.base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with DIRECT.open(request, timeout=_TIMEOUT_S) as response:
                answer: dict[str, Any] = json.load(response)
            tokens = answer["choices"][0]["token_ids"]
            answers.append(GreedyAnswer(question, answer["prompt_token_ids"], tokens))
        # Servers other than vLLM ignore return_token_ids, so that the key is missing.
        except (OSError, ValueError, LookupError) as error:
            raise ServingError(
                f"server '{server.base_url}': returned no tokens for {question!r}: {error!r}. See its log."
            ) from error
    return answers


def compare_with_source(source: ExportSource, answers: Sequence[GreedyAnswer]) -> ExportComparison:
    """Compare served answers with what the source would have answered.

    Raises:
        ModelError: they differ by more than rounding explains.
    """
    from charter.training.token_worker import ROUNDING, greedy_gaps  # torch, after the server has freed its memory

    gaps = greedy_gaps(str(source.folder), source.base, [answer._asdict() for answer in answers])
    if gaps.other_prompts:
        raise ModelError(
            f"model '{source.folder}': its export turns {gaps.other_prompts} of {len(answers)} prompts into other "
            "tokens. Nothing was written. Look at the chat template and the tokenizer's files."
        )
    # An unknown number format gets the widest tolerance: a false alarm would block every export.
    allowed = ROUNDING.get(gaps.dtype, max(ROUNDING.values()))
    comparison = ExportComparison(len(answers), sum(gap == 0 for gap in gaps.gaps), max(gaps.gaps), allowed)
    if comparison.gap > allowed:
        raise ModelError(
            f"model '{source.folder}': its export answers differently: {comparison.n - comparison.same} of "
            f"{comparison.n} greedy answers differ, by up to {comparison.gap:.3g} nats where rounding explains "
            f"{allowed:g}. Nothing was written. See what vLLM says about this architecture; --no-check exports it "
            "anyway."
        )
    return comparison
