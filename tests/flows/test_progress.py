"""The live line of a stage."""

import time

from charter.stages.context import Progress
from flows.progress import Stage


def line(*told: Progress, seconds: float = 10.0) -> str:
    stage = Stage("revise", started=time.monotonic() - seconds)
    for shard, progress in enumerate(told):
        stage.shards[shard] = stage.latest = progress
    return " ".join(stage.line().split())


def test_before_the_first_row_it_says_what_is_going_on_and_no_time_left() -> None:
    begun = Progress("revise", 0, 200, tokens_in=50_000, tokens=9_000, calls=300, waiting=7, cache_hits=0.834)
    assert line(begun) == (
        "revise 0 of 200 rows · 0.0 rows/s · 5,000 tokens/s in, 900 out · prefix cache 83% · 7 waiting at the server"
    )


def test_shards_are_added_up_with_what_failed_and_what_the_store_had() -> None:
    one = Progress("revise", 60, 100, 3, {"tie": 2, "empty": 1}, tokens_in=1_000, tokens=500, calls=30, stored=90)
    other = Progress("revise", 40, 100, 2, {"tie": 2}, tokens_in=1_000, tokens=500, calls=30, stored=30)
    assert line(one, other) == (
        "revise 100 of 200 rows · 5 failed (4 tie, 1 empty) · 10.0 rows/s · 200 tokens/s in, 100 out · 10 s left"
        " · 67% from the store"
    )


def test_at_the_end_it_says_how_long_it_took() -> None:
    done = Progress("revise", 5, 5, tokens_in=10, tokens=20, calls=5, waiting=3)
    assert line(done) == "revise 5 of 5 rows · 0.5 rows/s · 1 tokens/s in, 2 out · 10 s"


def test_training_has_tokens_and_steps() -> None:
    step = Progress("train dpo", 3, 12, unit="steps", tokens=4_000)
    assert line(step) == "revise 3 of 12 steps · 0.3 steps/s · 400 tokens/s · 30 s left"
