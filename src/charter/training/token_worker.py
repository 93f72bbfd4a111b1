"""What a model has learnt, token by token, beside the model it was trained from.

``python -m charter.training.token_worker FOLDER/request.json``, as `charter.training.tokens` starts it.

The implicit reward of an answer (Rafailov et al., 2023, arXiv 2305.18290, section 4) is β·log π/π_ref of the whole of
it, which is the sum over its tokens: each token's part says how much training moved it.
"""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoModelForCausalLM

from charter.core.errors import CharterError, ModelError, TrainingError
from charter.core.messages import Messages, transcript
from charter.core.statistics.intervals import bootstrap_mean
from charter.training import models
from charter.training.child import die_with_parent
from charter.training.process import PARENT
from charter.training.rows import encode_rows
from charter.training.token_rewards import Divergence, Heat, Weighed, WeighedPair, write_heat
from charter.training.tokens import Pair, Request, choose, read_request

SHOWN = 300
"""Tokens of one answer that are kept for the page."""

_SIDES = ("chosen_ids", "rejected_ids")
_DIGITS = 6


def main(path: Path) -> int:
    """Look at what is asked for, and leave the result beside the request."""
    if PARENT in os.environ:
        die_with_parent()
    try:
        write_heat(path.parent, measure(read_request(path)))
    except CharterError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def measure(asked: Request) -> Heat:
    """All of it; at most two models are in memory at once.

    Raises:
        ModelError: one of the models cannot be read.
        TrainingError: no pair can be tokenised, or a model gives no finite numbers.
    """
    tokenizer = models.load_tokenizer(asked.model)
    model, reference = load(asked.model), load(asked.reference)
    pairs, encoded = encode_pairs(asked, tokenizer)
    rewards = [
        [token_rewards(model, reference, row["prompt_ids"], row[side], asked.beta) for side in _SIDES]
        for row in encoded
    ]
    margins = [sum(chosen) - sum(rejected) for chosen, rejected in rewards]
    if not all(map(math.isfinite, margins)):
        raise TrainingError(f"model '{asked.model}': gives log-probabilities that are not finite. Train it again.")
    trained_on = [margin for pair, margin in zip(pairs, margins, strict=True) if pair.source == "training"]
    answers = encode_answers(asked, tokenizer)
    divergence = [diverge(model, reference, answers, asked.names[1])]
    if asked.identities[1] != asked.identities[2]:
        del reference
        divergence.append(diverge(model, load(asked.base), answers, asked.names[2]))
    return Heat(
        key=asked.key,
        model=asked.names[0],
        identity=asked.identities[0],
        reference=asked.names[1],
        beta=asked.beta,
        scored=len(trained_on),
        ranked_right=sum(margin > 0 for margin in trained_on),
        pairs=[
            weigh_pair(tokenizer, pairs[i], how, encoded[i], rewards[i])
            for i, how in choose(pairs, margins, asked.drawn_from)
        ],
        divergence=[found for found in divergence if found is not None],
    )


def load(model: str) -> Any:
    """A model to be asked: in float32 on a CPU; on GPUs as it was saved, spread over them where it needs to be.

    Raises:
        ModelError: its weights cannot be read.
    """
    place = {"dtype": "auto", "device_map": "auto"} if torch.cuda.is_available() else {"dtype": torch.float32}
    try:
        return AutoModelForCausalLM.from_pretrained(model, **place).eval()
    except (OSError, ValueError) as error:
        raise ModelError(f"model '{model}': its weights cannot be read: {error}") from error


def encode_pairs(asked: Request, tokenizer: Any) -> tuple[list[Pair], list[dict[str, list[int]]]]:
    """The pairs that can be trained on, and their token ids, as training has them."""
    if not asked.pairs:
        return [], []
    rows = [
        {"row_id": str(i), "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for i, pair in enumerate(asked.pairs)
    ]
    encoded = encode_rows(
        pa.Table.from_pylist(rows), tokenizer, models.end_tokens(asked.model, tokenizer), asked.max_length, asked.model
    )
    left_out = {row.row_id for row in encoded.dropped}
    return [pair for i, pair in enumerate(asked.pairs) if str(i) not in left_out], encoded.kept


def encode_answers(asked: Request, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Token ids of each prompt and of its answer."""
    if not asked.answers:
        return []
    rows = [{"row_id": str(i), "prompt": a.prompt, "completion": a.text} for i, a in enumerate(asked.answers)]
    encoded = encode_rows(
        pa.Table.from_pylist(rows), tokenizer, models.end_tokens(asked.model, tokenizer), asked.max_length, asked.model
    )
    starts = [row["labels"].count(-100) for row in encoded.kept]
    return [(row["input_ids"][:n], row["input_ids"][n:]) for row, n in zip(encoded.kept, starts, strict=True)]


@torch.no_grad()
def log_probabilities(model: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """Log-probabilities of every token where each token of `answer` stands, in nats: (len(answer), vocabulary)."""
    ids = torch.tensor([prompt + answer], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)


def token_rewards(model: Any, reference: Any, prompt: list[int], answer: list[int], beta: float) -> list[float]:
    """β·log π/π_ref of each token of `answer`, in nats."""
    places = torch.tensor(answer)[:, None]
    ours, theirs = (
        log_probabilities(one, prompt, answer).gather(1, places.to(one.device))[:, 0].double().cpu()
        for one in (model, reference)
    )
    rewards: list[float] = (beta * (ours - theirs)).tolist()
    return rewards


def token_divergence(model: Any, other: Any, prompt: list[int], answer: list[int]) -> list[float]:
    """KL(π ‖ π_other) where each token of `answer` stands, over the whole vocabulary, in nats."""
    ours = log_probabilities(model, prompt, answer)
    theirs = log_probabilities(other, prompt, answer).to(ours.device)
    found: list[float] = kl_div(theirs, ours, reduction="none", log_target=True).sum(-1).double().cpu().tolist()
    return found


def diverge(model: Any, other: Any, answers: Sequence[tuple[list[int], list[int]]], name: str) -> Divergence | None:
    """Each answer's mean over its tokens, averaged over answers; None where there are no answers.

    Raises:
        TrainingError: one of the models gives no finite numbers.
    """
    means = [sum(kl) / len(kl) for kl in (token_divergence(model, other, *answer) for answer in answers)]
    rate = bootstrap_mean(means)
    if rate.value is None:
        return None
    if not math.isfinite(rate.value):
        raise TrainingError(f"KL from model '{name}': it is not finite, as some token has no probability at all.")
    return Divergence(name, rate.value, rate.low, rate.high, rate.n)


def weigh(tokenizer: Any, ids: list[int], rewards: Sequence[float], shown: int = SHOWN) -> Weighed:
    """An answer's tokens as text, each with its reward; tokens that are one character together are joined."""
    tokens, values, done, waiting = list[str](), list[float](), "", 0.0
    for end, reward in enumerate(rewards[:shown], start=1):
        text, waiting = tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False), waiting + reward
        if text.endswith("\ufffd") and end < len(ids):
            continue
        tokens.append(text[len(done) :])
        values.append(round(waiting, _DIGITS))
        done, waiting = text, 0.0
    return Weighed(tokens, values, round(sum(rewards), _DIGITS), len(rewards))


def weigh_pair(
    tokenizer: Any, pair: Pair, how: str, row: dict[str, list[int]], rewards: Sequence[list[float]]
) -> WeighedPair:
    """A pair as the page shows it."""
    prompt = pair.prompt[0]["content"] if len(pair.prompt) == 1 else transcript(cast("Messages", pair.prompt))
    chosen, rejected = (weigh(tokenizer, row[side], found) for side, found in zip(_SIDES, rewards, strict=True))
    return WeighedPair(how, prompt, chosen, rejected, pair.source, pair.kind, pair.p_chosen)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
