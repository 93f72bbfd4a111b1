"""What engines of one run share is opened once, and closed by the last to leave."""

import gc
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest

from charter.inference.session import drive
from charter.inference.store import StoreStats


async def test_engines_of_one_drive_share_a_store_until_the_last_has_left(tmp_path: Path) -> None:
    url = str(tmp_path / "store.sqlite")
    with drive() as driven:
        async with driven.stores.shared(url) as first:
            async with driven.stores.shared(url) as second, driven.stores.shared(f"{url}.other") as other:
                assert first is second is not other
                await second.put(b"k" * 32, b"value")
            assert await first.get(b"k" * 32) == b"value"
        async with driven.stores.shared(url) as again:
            assert again is not first
            assert isinstance(again.stats(), StoreStats) and again.stats().entries == 1


async def test_what_is_open_for_a_run_stays_open_between_its_stages(tmp_path: Path) -> None:
    url = str(tmp_path / "store.sqlite")
    with drive() as driven:
        async with driven.open_for([url, url]):
            async with driven.stores.shared(url) as one, driven.connections.shared() as pool:
                pass
            async with driven.stores.shared(url) as two, driven.connections.shared() as same:
                assert one is two and pool is same and not same.closed
        assert pool.closed


def test_the_collector_is_left_as_it_was_found() -> None:
    before = gc.get_threshold()
    with drive():
        assert gc.get_threshold() != before and gc.get_freeze_count() > 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_of_two_drives_at_once_neither_leaves_the_other_s_setting_behind() -> None:
    before, one, other = gc.get_threshold(), drive(), drive()

    def overlapping() -> None:
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        other.__exit__(None, None, None)

    copy_context().run(overlapping)  # which leaves the first drive current, there and nowhere else
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux schedules by these policies")
def test_a_drive_gives_way_and_leaves_its_thread_scheduled_as_it_found_it() -> None:
    def policy() -> int:
        return os.sched_getscheduler(0)

    before = policy()
    with drive():
        assert policy() == os.SCHED_BATCH
        with drive():
            pass
        assert policy() == os.SCHED_BATCH
    assert policy() == before

    def chosen() -> tuple[int, int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with drive():
            return policy(), os.SCHED_IDLE

    with ThreadPoolExecutor(1) as thread:
        kept, wanted = thread.submit(chosen).result()
    assert kept == wanted
