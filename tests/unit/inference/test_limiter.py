"""How many calls go at once: exactly as many as asked for, or the level at which throughput stops rising."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from charter.config import Serving
from charter.core.messages import user
from charter.inference import EngineSpec, Sampling, connect, open_engine
from charter.inference.limiter import HIGHEST, LOWEST, PLACE, Climb, ClimbingSlots, Slots
from charter.inference.metrics_poller import Load
from charter.inference.session import drive
from charter.testing.null_server import NullServer, run_null_server


def levels(throughput: Callable[[int], float], windows: int) -> list[int]:
    climb = Climb()
    return [climb.next(throughput(climb.level)) for _ in range(windows)]


@pytest.mark.parametrize("limit", [1, 6, 16, 60, 64, 200, 1000, 10**6])
def test_the_climb_ends_where_throughput_stops_rising(limit: int) -> None:
    visited = levels(lambda level: 100.0 * min(level, limit), 400)
    assert min(visited) >= LOWEST and max(visited) <= HIGHEST
    home = max(set(visited[-100:]), key=visited[-100:].count)
    assert min(max(limit, LOWEST), HIGHEST) <= home < max(2 * limit, 2 * LOWEST)


def test_looking_around_becomes_rare() -> None:
    visited = levels(lambda level: min(level, 64.0), 2000)
    assert sum(level != 64 for level in visited[:100]) <= 8
    assert sum(level != 64 for level in visited[1000:]) <= 3


def test_the_climb_follows_servers_that_come_and_go() -> None:
    climb = Climb()
    for limit in (64, 512, 32):
        for _ in range(1500):
            climb.next(float(min(climb.level, limit)))
        assert limit <= climb.level < 2 * limit


def test_noise_costs_little() -> None:
    noise, climb, got = random.Random(1), Climb(), 0.0
    for _ in range(1000):
        rate = min(climb.level, 256.0)
        got += rate
        climb.next(rate * noise.gauss(1.0, 0.02))
    assert got / 1000 > 0.95 * 256


def test_noise_does_not_carry_the_level_down() -> None:
    """Half the calls in flight cost 7 % here, and a measurement is 15 % off: as on a server of two cores."""

    def windows_below(seed: int) -> int:
        noise, climb, below = random.Random(seed), Climb(), 0
        for _ in range(60):
            speed = {64: 0.93, 32: 0.8}.get(climb.level, 1.0)
            below += climb.next(speed * noise.gauss(1.0, 0.15)) < 128
        return below

    assert sum(map(windows_below, range(200))) / (200 * 60) < 0.06


def test_calls_that_grow_longer_do_not_carry_the_level_away() -> None:
    """As when critiques follow answers: more tokens per second, whatever the level."""
    climb = Climb()
    visited = [climb.next(min(climb.level, 128) * 1.15**window) for window in range(40)]
    assert max(visited) <= 256 and climb.level == 128


@pytest.mark.parametrize("when", range(12))
def test_a_new_stage_of_longer_calls_does_not_halve_the_level(when: int) -> None:
    """What looks like the gain of fewer calls is that the run has come to its critiques in the meantime."""
    climb = Climb()
    rate = (min(0.6 + 0.4 * climb.level / 128, 1.0) * (3 if window >= when else 1) for window in range(30))
    assert sum(climb.next(now) < 128 for now in rate) <= 2


@pytest.mark.parametrize(
    ("load", "looked_at"),
    [
        (None, {64, 128, 256}),
        (Load(running=128, waiting=0), {128, 256}),  # half the calls would leave it short
        (Load(running=128, waiting=128), {128}),  # nor can it take more; told while 256 were in flight
        (Load(running=40, waiting=88), {64, 128}),
    ],
)
def test_what_servers_say_of_their_load_spares_looks_in_vain(load: Load | None, looked_at: set[int]) -> None:
    climb = Climb()
    assert {climb.next(min(climb.level, 128.0), load) for _ in range(100)} == looked_at


def test_a_server_that_can_take_more_again_is_found() -> None:
    climb, visited = Climb(), list[int]()
    for limit in [100] * 500 + [1000] * 60:
        load = Load(min(climb.level, limit), max(0, climb.level - limit))
        visited.append(climb.next(float(min(climb.level, limit)), load))
    assert set(visited[10:500]) == {128} and visited[-1] == 1024


async def test_a_level_is_kept() -> None:
    slots, highest, busy = Slots(8), 0, 0

    async def work() -> None:
        nonlocal highest, busy
        async with slots:
            busy += 1
            highest = max(highest, busy)
            await asyncio.sleep(0.001)
            busy -= 1

    for level in (8, 20, 3, 5, 1, 30):
        slots.level, highest = level, 0
        await asyncio.gather(*(work() for _ in range(5 * level)))
        assert highest == level


async def test_the_lowest_place_goes_first_and_of_one_place_who_came_first() -> None:
    slots, went = Slots(1), list[tuple[int, ...]]()

    async def work(*place: int) -> None:
        PLACE.set(place[:-1])
        async with slots:
            went.append(place)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(*place) for place in [(9, 9, 0), (1, 5, 1), (0, 7, 2), (1, 2, 3), (0, 7, 4), (4,)]))
    assert went == [(9, 9, 0), (4,), (0, 7, 2), (0, 7, 4), (1, 2, 3), (1, 5, 1)]


async def test_a_caller_that_goes_away_takes_no_slot() -> None:
    slots = Slots(1)
    async with slots:
        leaving = asyncio.create_task(slots.__aenter__())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    async with asyncio.timeout(1):
        async with slots:
            pass


async def test_auto_finds_the_level_of_a_real_server(tmp_path: Path) -> None:
    parallel = 48
    with run_null_server(NullServer(latency_s=0.3, parallel=parallel)) as server, drive() as driven:
        spec = EngineSpec.of(connect([server.url], Serving()), str(tmp_path / "store.sqlite"))
        slots = driven.slots(spec.base_urls, spec.concurrency)
        async with open_engine(spec) as engine:
            asking = [asyncio.create_task(engine.ask([user(f"row {i}")], Sampling(8))) for i in range(3000)]
            await asyncio.sleep(8)
            found = slots.level
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
    assert parallel / 2 <= found <= 4 * parallel  # a look around, or a busy machine, may be a doubling off


class HurriedLoop(asyncio.SelectorEventLoop):
    """Nobody waits: its clock jumps to whatever comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.now, select = 0.0, self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None) -> object:
            self.now += timeout or 0.0
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


async def busy_level() -> int:
    """Where `auto` stands after a minute of a server whose calls share its speed, a fifth less with half of them."""
    lot, left, slots = random.Random(0), dict[int, float](), ClimbingSlots()
    loop = asyncio.get_running_loop()

    async def call(number: int) -> None:
        async with slots:
            left[number], done[number] = lot.uniform(0.95, 1.05), loop.create_future()
            await done[number]
            slots.did(100)

    async def serve() -> None:
        while loop.time() < 60:
            await asyncio.sleep(0.01)
            each = 100 * (0.6 + 0.4 * min(len(left), 128) / 128) * 0.01 / max(len(left), 1)
            for number in [number for number in left if left[number] <= each]:
                del left[number]
                done.pop(number).set_result(None)
            for number in left:
                left[number] -= each

    done = dict[int, "asyncio.Future[None]"]()
    calls = [asyncio.create_task(call(number)) for number in range(8000)]
    await serve()
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    return slots.level


def test_calls_that_are_left_of_a_higher_level_do_not_speak_for_a_lower_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """They had the server to themselves while it drained."""
    loop = HurriedLoop()
    monkeypatch.setattr("charter.inference.limiter.time", SimpleNamespace(monotonic=loop.time))
    assert loop.run_until_complete(busy_level()) == 128
    loop.close()


async def test_engines_of_one_drive_share_their_servers_slots(tmp_path: Path) -> None:
    async def ask(spec: EngineSpec, name: str) -> None:
        async with open_engine(spec) as engine:
            await asyncio.gather(*(engine.ask([user(f"{name} {i}")], Sampling(8)) for i in range(40)))

    with run_null_server(NullServer(latency_s=0.03)) as server, drive():
        spec = EngineSpec.of(connect([server.url], Serving()), str(tmp_path / "store.sqlite"), concurrency=10)
        other = replace(spec, identity="sha256:other")
        shards = asyncio.gather(ask(spec, "one"), ask(spec, "two"), ask(other, "three"), ask(spec, "four"))
        highest = 0
        while not shards.done():
            highest = max(highest, server.counts["running"])
            await asyncio.sleep(0.003)
        await shards
    assert 8 <= highest <= 10
    assert server.counts["answered"] == 160
