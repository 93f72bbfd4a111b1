"""What vLLM's engine takes for the same calls, by whether those it has at once begin alike.

    python benchmarks/locality.py

1,024 calls, eight to each of 128 beginnings, which are all in the server's cache: once with calls that begin alike one
after the other, and once one of each beginning after the other. The engine computes the same tokens in either case, but
in the first the calls that it has at once read the same part of its cache, over and over. It explains why a run, whose
calls to one row follow from each other, is slower than its calls row by row (`benchmarks/efficiency.py`).
"""

import argparse
import asyncio
import random
import statistics

from efficiency import all_at_once
from null_run import LAW
from vllm_run import engine_time, vllm, warm_up

from charter.core.messages import user
from charter.inference import Sampling, fast_json
from charter.inference.client import chat_request

BEGINNINGS, EACH, IN_FLIGHT = 128, 8, 128


def beginning(number: int, words: list[str]) -> str:
    """Some two hundred tokens."""
    return f"{number} " + " ".join(random.Random(number).choices(words, k=150))


def main() -> None:
    parser = argparse.ArgumentParser(description="The same calls, those that begin alike together or apart.")
    parser.add_argument("--repeats", type=int, default=4, help="passes of each; the median of their ratios counts")
    given = parser.parse_args()
    words, ratios = LAW.read_text(encoding="utf-8").split(), list[float]()
    with vllm("sandbox") as served:

        def took(pairs: list[tuple[int, int]]) -> float:
            conversations = ([user(f"{beginning(b, words)} question {n}")] for b, n in pairs)
            sampling = Sampling(max_tokens=32)
            bodies = [fast_json.dumps(chat_request(served.model_name, c, sampling)) for c in conversations]
            before = engine_time(served)
            asyncio.run(all_at_once(served.base_url, bodies, IN_FLIGHT))
            return engine_time(served).since(before).at_work

        together = [(b, n) for b in range(BEGINNINGS) for n in range(EACH)]
        apart = [(b, n) for n in range(EACH) for b in range(BEGINNINGS)]
        warm_up(served)
        took(apart)  # fills the cache
        print("| engine at work, s: together | apart | times |\n|---:|---:|---:|")
        for _ in range(given.repeats):
            alike, unlike = took(together), took(apart)
            ratios.append(unlike / alike)
            print(f"| {alike:.2f} | {unlike:.2f} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nApart {statistics.median(ratios):.2f} times as long, the median of {given.repeats}.")


if __name__ == "__main__":
    main()
