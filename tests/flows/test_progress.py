"""The live line of a stage."""

import io
import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import pytest

from charter.pipeline.rows import Progress
from flows.lib import progress
from flows.lib.progress import ArtifactPublisher, RunProgress, StageProgress, never_raising


def line(*told: Progress, seconds: float = 10.0) -> str:
    stage = StageProgress("revise", started=time.monotonic() - seconds)
    for shard, one in enumerate(told):
        stage.shards[shard] = stage.latest = one
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
        "revise 100 of 200 rows · 5 failed · 10.0 rows/s · 10 s left · 200 tokens/s in, 100 out"
        " · failed: 4 tie, 1 empty · 67% from the store"
    )


def test_at_the_end_it_says_how_long_it_took() -> None:
    done = Progress("revise", 5, 5, tokens_in=10, tokens=20, calls=5, waiting=3)
    assert line(done) == "revise 5 of 5 rows · 0.5 rows/s · 10 s · 1 tokens/s in, 2 out"


def test_training_has_tokens_and_steps() -> None:
    step = Progress("train dpo", 3, 12, unit="steps", tokens=4_000, note="loss 0.6712")
    assert line(step) == "revise 3 of 12 steps · loss 0.6712 · 0.3 steps/s · 30 s left · 400 tokens/s"


def test_what_cannot_be_told_is_said_once_and_ends_nothing() -> None:
    told, said = list[int](), list[str]()

    def tell(step: int) -> None:
        if step in (2, 3):
            raise ConnectionError("no server")
        told.append(step)

    tell_on = never_raising(tell, said.append)
    for step in (1, 2, 3, 4):
        tell_on(step)
    assert told == [1, 4]
    assert said == ["some progress cannot be shown, and the work goes on: ConnectionError: no server"]


class PrefectArtifacts:
    """Takes artifacts in place of Prefect's API, whose functions it replaces; `before` runs first, and may raise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before: Callable[[], object]) -> None:
        self.shown, self.before = list[float](), before
        monkeypatch.setattr(progress, "create_progress_artifact", self._create)
        monkeypatch.setattr(progress, "update_progress_artifact", self._update)
        monkeypatch.setattr(progress, "RETRY_S", 0.01)

    def _create(self, percent: float, **about: object) -> UUID:
        self._update(None, percent)
        return uuid4()

    def _update(self, artifact: UUID | None, percent: float, **about: object) -> None:
        self.before()
        self.shown.append(percent)


def test_a_slow_server_delays_no_update_and_misses_the_stale_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answers, said = threading.Event(), threading.Event(), list[str]()

    def wait_for_answer() -> None:
        asked.set()
        assert answers.wait(60)

    prefect = PrefectArtifacts(monkeypatch, wait_for_answer)
    publisher = ArtifactPublisher(said.append)
    publisher.put("revise", 0, "")
    assert asked.wait(60)
    for percent in range(1, 1001):  # the server answers only after the last of them: none may wait for it
        publisher.put("revise", percent / 10, "")
    answers.set()
    publisher.close()
    assert prefect.shown == [0, 100.0]
    assert said == []


def test_a_server_that_fails_is_reported_once_and_gets_the_latest_update_later(monkeypatch: pytest.MonkeyPatch) -> None:
    tries, twice, up, said = list[int](), threading.Event(), threading.Event(), list[str]()

    def fail_until_up() -> None:
        tries.append(1)
        if len(tries) > 1:
            twice.set()
        if not up.is_set():
            raise ConnectionError("no server")

    prefect = PrefectArtifacts(monkeypatch, fail_until_up)
    publisher = ArtifactPublisher(said.append)
    for percent in (10.0, 20.0, 30.0):
        publisher.put("revise", percent, "")
    assert twice.wait(60)
    publisher.put("revise", 40.0, "")
    up.set()
    publisher.close()
    assert prefect.shown[-1] == 40.0 and 10.0 not in prefect.shown
    assert len(said) == 1 and "ConnectionError: no server" in said[0]


async def test_results_are_shown_when_the_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "RETRY_S", 0.01)
    errors = [httpx.ConnectError("down"), RuntimeError("Failed to reach API at http://127.0.0.1:9/api/")]
    shown, live = list[str](), RunProgress()

    async def create(content: str, **about: object) -> None:
        if errors:
            raise errors.pop()
        shown.append(content)

    await live.publish(create, "a page", key="report")
    assert shown == ["a page"] and errors == []


async def test_a_server_that_stays_away_costs_a_run_its_artifacts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "RETRY_S", 0.01)
    monkeypatch.setattr(progress, "OUTAGE_S", 0.0)
    tries, said, live = list[str](), list[str](), RunProgress()
    monkeypatch.setattr(live, "say", said.append)

    async def create(content: str, **about: object) -> None:
        tries.append(content)
        raise httpx.ConnectError("down")

    for name in ("first", "second"):
        await live.publish(create, name, key=name)
    assert [line for line in said if "'second'" in line] and tries[-1] == "second"
    with pytest.raises(TypeError):  # an error of our own is not an outage
        await live.publish(create, "third", key="third", content="twice")


def test_a_callback_still_lets_a_stop_through() -> None:
    stop = KeyboardInterrupt

    def tell(step: int) -> None:
        raise stop

    with pytest.raises(stop):
        never_raising(tell, print)(1)


def test_a_line_is_never_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(progress, "TERMINAL_EVERY_S", 0.0)
    monkeypatch.setattr(progress.ArtifactPublisher, "put", lambda *update: None)
    live = RunProgress()
    for done in (0, 50):
        live.report(Progress("revise", done, 100, tokens_in=10**6, tokens=10**6, waiting=7, cache_hits=0.5))
        time.sleep(0.01)
    lines = [line for line in screen.getvalue().split("\r\x1b[K") if line]
    assert lines and all(len(line) <= 39 for line in lines)
    assert " ".join(lines[-1].split()).startswith("revise 50 of 100 rows ·")
