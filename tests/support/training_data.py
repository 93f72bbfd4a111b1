"""Small synthetic training sets, the same for the same seed."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from charter.data.schema import MESSAGES

WORDS = ["steal", "repair", "bicycle", "shop", "lock", "night", "guard", "save", "buy", "Paris", "harm", "owner"]
PAIRS = pa.schema(
    [
        ("row_id", pa.string()),
        ("prompt", MESSAGES),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("p_chosen", pa.float64()),
    ]
)
RL_PROMPTS = pa.schema(
    [("row_id", pa.string()), ("prompt", MESSAGES), ("first", pa.string()), ("drawn", pa.list_(pa.string()))]
)
SFT = pa.schema([("row_id", pa.string()), ("prompt", MESSAGES), ("completion", pa.string())])


def write_sft(path: Path, n: int = 24, seed: int = 0) -> Path:
    """A file of prompts and completions."""
    rng = random.Random(seed)
    rows = [{"row_id": f"s{i}", "prompt": _prompt(rng), "completion": _answer(rng)} for i in range(n)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SFT), path)
    return path


def write_rl_prompts(path: Path, n: int = 24, seed: int = 0) -> Path:
    """A file of prompts with a first answer to each."""
    rng = random.Random(seed)
    rows = [{"row_id": f"g{i}", "prompt": _prompt(rng), "first": _answer(rng), "drawn": []} for i in range(n)]
    pq.write_table(pa.Table.from_pylist(rows, schema=RL_PROMPTS), path)
    return path


def write_pairs(path: Path, n: int = 24, seed: int = 0, p: float | None = None) -> Path:
    """A file of pairs, each with the probability `p`, or one of its own."""
    return write_rows(path, pairs(n, seed, p))


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    """A file of these pairs."""
    pq.write_table(pa.Table.from_pylist(rows, schema=PAIRS), path)
    return path


def pairs(n: int, seed: int = 0, p: float | None = None) -> list[dict[str, object]]:
    """The rows of `write_pairs`."""
    rng = random.Random(seed)
    return [
        {
            "row_id": f"p{i}",
            "prompt": _prompt(rng),
            "chosen": _answer(rng),
            "rejected": _answer(rng),
            "p_chosen": rng.uniform(0.55, 0.99) if p is None else p,
        }
        for i in range(n)
    ]


def separable(n: int, seed: int = 0) -> list[dict[str, object]]:
    """Rows like those of `write_pairs`, whose better answer is of the first words and whose worse one of the last."""
    rng = random.Random(seed)
    return [
        {**row, "chosen": _words(rng, WORDS[:6]), "rejected": _words(rng, WORDS[6:])} for row in pairs(n, seed, p=0.9)
    ]


def goodness(answer: str) -> float:
    """The share of an answer's words that are of the better ones in `separable`."""
    words = [word.strip(".") for word in answer.split()]
    return sum(word in WORDS[:6] for word in words) / max(1, sum(word in WORDS for word in words))


def _words(rng: random.Random, words: list[str]) -> str:
    return f"You {' '.join(rng.choices(words, k=rng.randint(3, 9)))}."


def _prompt(rng: random.Random) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"How do I {_text(rng, 3, 8)}?"}]


def _answer(rng: random.Random) -> str:
    return f"You {_text(rng, 3, 9)}."


def _text(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))
