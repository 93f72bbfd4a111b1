"""Weights to start from with which a model repeats what stands before it, whatever the words are.

An induction head looks up where the present word stood before, and says the word that followed
(Olsson et al. 2022, "In-context Learning and Induction Heads"). With it a fine answer is repeated to the letter,
and the object of a request taken over, however rare it is. Training by itself finds it for words that are often
repeated, and only for them; from these weights it is there at the first step, and rows of random words that are
said again keep it.
"""

import math
import random

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from tools.sandbox.encode import Row

EMBEDDING = 0.06
_SHARPNESS = 6.5  # how sharply the first layer looks at the word before
_WRITTEN = 0.12  # what the first layer adds, beside an embedding's norm of about 0.8
_MATCH = 3.4  # how sharply the second layer looks for its own word
_COPIED = 0.15  # what the second layer adds to the word's own embedding


@torch.no_grad()
def start_with_induction(model: LlamaForCausalLM) -> None:
    """Set parts of the first two layers so that they form induction heads; the rest stays random.

    Two heads of the first layer look one position back, by the rotation alone, and write what they see, 64
    directions of the embedding, into 64 others. Four heads of the second layer compare those with their own
    word's, 16 directions each in the slow half of the rotation, and add what stands where they match.
    """
    size, head = model.config.hidden_size, model.config.hidden_size // model.config.num_attention_heads
    first, second = model.model.layers[0].self_attn, model.model.layers[1].self_attn
    constant = 0.5 * math.sqrt(size) * EMBEDDING  # one number is the same for every word
    model.model.embed_tokens.weight.normal_(0, EMBEDDING)
    model.model.embed_tokens.weight[:, 0] = constant
    directions = _directions(size)
    own, before = directions[:64], directions[64:128]
    scale = _SHARPNESS * math.sqrt(EMBEDDING**2 + constant**2 / size) / constant
    for number in range(2):
        rows, seen = slice(number * head, (number + 1) * head), slice(number * 32, (number + 1) * 32)
        first.q_proj.weight[rows, 0], first.k_proj.weight[rows, 0] = _one_back(model, head, scale)
        first.v_proj.weight[rows] = own[seen]
        first.o_proj.weight[:, rows] = _WRITTEN * before[seen].T
    slow = [*range(head // 4, head // 2), *range(head * 3 // 4, head)]
    values = _directions(size)
    for number in range(4):
        slow_rows, matched = [number * head + i for i in slow], slice(number * 16, (number + 1) * 16)
        second.q_proj.weight[slow_rows] = math.sqrt(_MATCH) * own[matched]
        second.k_proj.weight[slow_rows] = math.sqrt(_MATCH) * before[matched]
        columns = slice(number * head, (number + 1) * head)
        second.v_proj.weight[columns] = values[columns]
        second.o_proj.weight[:, columns] = _COPIED * values[columns].T


def draw_repetition(rng: random.Random, words: range) -> Row:
    """Random tokens, some of which are said again, sooner or later; what is learnt is saying them again."""
    once = rng.choices(words, k=rng.randint(8, 24))
    before, between = (rng.choices(words, k=rng.choice([0, 0, 20])) for _ in range(2))
    ids = [*before, *once, *between, *once]
    again = range(len(ids) - len(once) + 1, len(ids))  # the first word of it cannot be known
    return Row(ids, list(range(len(ids))), [1] * len(ids), [(i - 1, ids[i], 1.0, "") for i in again])


def _directions(size: int) -> Tensor:
    """Orthogonal unit vectors, one a row, that leave out the constant number."""
    basis = torch.nn.init.orthogonal_(torch.empty(size - 1, size - 1))
    return torch.cat([torch.zeros(size - 1, 1), basis], dim=1)


def _one_back(model: LlamaForCausalLM, head: int, scale: float) -> tuple[Tensor, Tensor]:
    """Query and key, each shaped (head,), whose product after the rotation is largest one position back."""
    theta = model.config.rope_parameters["rope_theta"]
    query, key = torch.zeros(head), torch.zeros(head)
    for pair in range(5):  # the fast ones; each turns by its angle from one position to the next
        angle = theta ** (-pair / (head / 2))
        query[pair] = scale
        key[pair], key[pair + head // 2] = scale * math.cos(angle), scale * math.sin(angle)
    return query, key
