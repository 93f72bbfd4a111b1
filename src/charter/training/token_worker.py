"""Measures what a model has learnt, token by token, relative to the model that it was trained from.

``python -m charter.training.token_worker FOLDER/request.json``, as `charter.training.token_rewards` starts it.

The implicit reward of an answer (Rafailov et al., 2023, arXiv 2305.18290, section 4) is β·log π/π_ref of the whole
answer, which is the sum over its tokens: each token's part is how much training moved it.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoConfig, AutoModelForCausalLM

from charter.core.errors import CharterError, ModelError, TrainingError
from charter.core.messages import Messages, transcript
from charter.core.statistics.intervals import bootstrap_mean
from charter.training import models
from charter.training.rows import Rows, encode_rows
from charter.training.token_rewards import (
    Divergence,
    PairRewards,
    TokenPair,
    TokenReport,
    TokenRequest,
    TokenRewards,
    read_token_request,
    select_pairs,
    write_token_report,
)

SHOWN = 300
"""Tokens of one answer that are kept for the page."""

ROUNDING = {"torch.float32": 0.01, "torch.float16": 0.1, "torch.bfloat16": 0.5}
"""By dtype, how far apart two tokens may be, in nats, so that two programs may choose differently by rounding."""

_SIDES = ("chosen_ids", "rejected_ids")
_DIGITS = 6


def main(path: Path) -> int:
    """Measure a request, and write the report next to it."""
    try:
        write_token_report(path.parent, build_token_report(read_token_request(path)))
    except CharterError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def build_token_report(request: TokenRequest) -> TokenReport:
    """The report on a request; at most two models are in memory at the same time.

    Raises:
        ModelError: one of the models cannot be read.
        TrainingError: no pair can be tokenised, or a model gives numbers that are not finite.
    """
    tokenizer = models.load_tokenizer(request.model)
    model, reference = load_for_inference(request.model), load_for_inference(request.reference)
    pairs, encoded = encode_pairs(request, tokenizer)
    rewards = [
        [token_rewards(model, reference, row["prompt_ids"], row[side], request.beta) for side in _SIDES]
        for row in encoded
    ]
    margins = [sum(chosen) - sum(rejected) for chosen, rejected in rewards]
    if not all(map(math.isfinite, margins)):
        raise TrainingError(f"model '{request.model}': gives log-probabilities that are not finite. Train it again.")
    trained_on = [margin for pair, margin in zip(pairs, margins, strict=True) if pair.source == "training"]
    answers = encode_answers(request, tokenizer)
    divergences = [diverge(model, reference, answers, request.names[1])]
    if request.identities[1] != request.identities[2]:
        del reference  # make room for the base
        divergences.append(diverge(model, load_for_inference(request.base), answers, request.names[2]))
    return TokenReport(
        key=request.key,
        model=request.names[0],
        identity=request.identities[0],
        reference=request.names[1],
        beta=request.beta,
        scored=len(trained_on),
        ranked_right=sum(margin > 0 for margin in trained_on),
        pairs=[
            attribute_pair(tokenizer, pairs[i], how, encoded[i], rewards[i])
            for i, how in select_pairs(pairs, margins, request.drawn_from)
        ],
        divergence=[divergence for divergence in divergences if divergence is not None],
    )


def load_for_inference(model: str) -> Any:
    """A model to run: in float32 on a CPU; on GPUs in its saved dtype, spread over several if it must be.

    Raises:
        ModelError: its weights cannot be read.
    """
    place = {"dtype": "auto", "device_map": "auto"} if torch.cuda.is_available() else {"dtype": torch.float32}
    try:
        return AutoModelForCausalLM.from_pretrained(model, **place).eval()
    except (OSError, ValueError) as error:
        raise ModelError(f"model '{model}': its weights cannot be read: {error}") from error


def encode_pairs(request: TokenRequest, tokenizer: Any) -> tuple[list[TokenPair], list[dict[str, list[int]]]]:
    """The pairs that can be trained on, and their token ids as in training."""
    if not request.pairs:
        return [], []
    rows = [
        {"row_id": str(i), "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for i, pair in enumerate(request.pairs)
    ]
    encoded = _encode(rows, request, tokenizer)
    left_out = {row.row_id for row in encoded.dropped}
    return [pair for i, pair in enumerate(request.pairs) if str(i) not in left_out], encoded.kept


def encode_answers(request: TokenRequest, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Token ids of each prompt and of its answer."""
    if not request.answers:
        return []
    rows = [{"row_id": str(i), "prompt": a.prompt, "completion": a.text} for i, a in enumerate(request.answers)]
    encoded = _encode(rows, request, tokenizer)
    starts = [row["labels"].count(-100) for row in encoded.kept]  # the label of the prompt's tokens
    return [(row["input_ids"][:n], row["input_ids"][n:]) for row, n in zip(encoded.kept, starts, strict=True)]


def _encode(rows: list[dict[str, Any]], request: TokenRequest, tokenizer: Any) -> Rows:
    end_ids = models.end_tokens(request.model, tokenizer)
    return encode_rows(pa.Table.from_pylist(rows), tokenizer, end_ids, request.max_length, request.model)


@torch.no_grad()
def log_probabilities(model: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """Log-probabilities of the whole vocabulary at each token of `answer`, in nats: (len(answer), vocabulary)."""
    ids = torch.tensor([prompt + answer], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)


def token_rewards(model: Any, reference: Any, prompt: list[int], answer: list[int], beta: float) -> list[float]:
    """β·log π/π_ref of each token of `answer`, in nats."""
    ids = torch.tensor(answer)[:, None]
    ours, theirs = (
        log_probabilities(one, prompt, answer).gather(1, ids.to(one.device))[:, 0].double().cpu()
        for one in (model, reference)
    )
    rewards: list[float] = (beta * (ours - theirs)).tolist()
    return rewards


def token_divergence(model: Any, other: Any, prompt: list[int], answer: list[int]) -> list[float]:
    """KL(π ‖ π_other) at each token of `answer`, over the whole vocabulary, in nats."""
    ours = log_probabilities(model, prompt, answer)
    theirs = log_probabilities(other, prompt, answer).to(ours.device)
    divergences: list[float] = kl_div(theirs, ours, reduction="none", log_target=True).sum(-1).double().cpu().tolist()
    return divergences


def diverge(model: Any, other: Any, answers: Sequence[tuple[list[int], list[int]]], name: str) -> Divergence | None:
    """The mean over answers of each answer's mean over its tokens; None if there are no answers.

    Raises:
        TrainingError: one of the models gives numbers that are not finite.
    """
    means = [sum(kl) / len(kl) for kl in (token_divergence(model, other, *answer) for answer in answers)]
    rate = bootstrap_mean(means)
    if rate.value is None:
        return None
    if not math.isfinite(rate.value):
        raise TrainingError(f"KL from model '{name}': it is not finite, as some token has no probability at all.")
    return Divergence(name, rate.value, rate.low, rate.high, rate.n)


def attribute(tokenizer: Any, ids: list[int], rewards: Sequence[float], shown: int = SHOWN) -> TokenRewards:
    """An answer's tokens as text, each with its reward; tokens that are one character together are joined."""
    tokens, values, done, pending = list[str](), list[float](), "", 0.0
    for end, reward in enumerate(rewards[:shown], start=1):
        text, pending = tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False), pending + reward
        if text.endswith("\ufffd") and end < len(ids):  # the first bytes of a character
            continue
        tokens.append(text[len(done) :])
        values.append(round(pending, _DIGITS))
        done, pending = text, 0.0
    return TokenRewards(tokens, values, round(sum(rewards), _DIGITS), len(rewards))


def attribute_pair(
    tokenizer: Any, pair: TokenPair, how: str, row: dict[str, list[int]], rewards: Sequence[list[float]]
) -> PairRewards:
    """A pair as the page shows it."""
    prompt = pair.prompt[0]["content"] if len(pair.prompt) == 1 else transcript(cast("Messages", pair.prompt))
    chosen, rejected = (attribute(tokenizer, row[side], values) for side, values in zip(_SIDES, rewards, strict=True))
    return PairRewards(how, prompt, chosen, rejected, pair.source, pair.kind, pair.p_chosen)


class GreedyGaps(NamedTuple):
    """How far answers are from a model's greedy ones.

    Attributes:
        gaps: for each answer, the most by which the model prefers another token to one in the answer, in nats; 0 means
            that the answer is the model's own greedy answer.
        other_prompts: prompts that the model's tokenizer and chat template turn into other tokens.
        dtype: the dtype of the model, or of the base if an adapter was merged, as merging rounds to that.
    """

    gaps: list[float]
    other_prompts: int
    dtype: str


def greedy_gaps(folder: str, base: str | None, answers: Sequence[Mapping[str, Any]]) -> GreedyGaps:
    """Compare answers, each with its question, ``prompt_ids`` and ``answer_ids``, with a model's greedy ones.

    Args:
        folder: the model, or an adapter of `base`, which is not merged for this.
        base: the model that an adapter belongs to.
        answers: from a server.
    """
    model = models.attach_adapter(load_for_inference(base), Path(folder)) if base else load_for_inference(folder)
    # An adapter may bring its own tokenizer.
    own_tokenizer = base is None or any(Path(folder).glob("tokenizer*"))
    tokenizer = models.load_tokenizer(folder if own_tokenizer else str(base))
    other_prompts, gaps = 0, []
    for answer in answers:
        turns = [{"role": "user", "content": answer["question"]}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        other_prompts += answer["prompt_ids"] != tokenizer(text, add_special_tokens=False)["input_ids"]
        # One forward pass over the answer, instead of decoding it again, also shows how near a tie was.
        logps = log_probabilities(model, answer["prompt_ids"], answer["answer_ids"])
        actual = logps.gather(1, torch.tensor(answer["answer_ids"], device=logps.device)[:, None])[:, 0]
        gaps.append(float((logps.max(-1).values - actual).max()))
    return GreedyGaps(gaps, other_prompts, str(AutoConfig.from_pretrained(base).dtype if base else model.dtype))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
