"""What engines of one run share is opened once, and closed by the last to leave."""

import asyncio
import gc
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from charter.inference.session import Session
from charter.inference.store import StoreStats


async def test_engines_of_one_session_share_a_store_until_the_last_has_left(tmp_path: Path) -> None:
    url = str(tmp_path / "store.sqlite")
    session = Session()
    async with session.stores.shared(url) as first:
        async with session.stores.shared(url) as second, session.stores.shared(f"{url}.other") as other:
            assert first is second is not other
            await second.put(b"k" * 32, b"value")
        assert await first.get(b"k" * 32) == b"value"
    async with session.stores.shared(url) as again:
        assert again is not first
        assert isinstance(again.stats(), StoreStats) and again.stats().entries == 1


async def test_what_is_keep_open_a_run_stays_open_between_its_stages(tmp_path: Path) -> None:
    url = str(tmp_path / "store.sqlite")
    session = Session()
    async with session.keep_open([url, url]):
        async with session.stores.shared(url) as one, session.connections.shared() as pool:
            pass
        async with session.stores.shared(url) as two, session.connections.shared() as same:
            assert one is two and pool is same and not same.closed
    assert pool.closed


async def test_the_collector_is_left_as_it_was_found() -> None:
    before = gc.get_threshold()
    async with Session().keep_open([]):
        assert gc.get_threshold() != before and gc.get_freeze_count() > 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


async def test_of_two_sessions_neither_leaves_the_other_s_setting_behind() -> None:
    before, one, other = gc.get_threshold(), Session().keep_open([]), Session().keep_open([])
    await one.__aenter__()
    await other.__aenter__()
    await one.__aexit__(None, None, None)
    await other.__aexit__(None, None, None)
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux schedules by these policies")
def test_a_session_gives_way_and_leaves_its_thread_scheduled_as_it_found_it() -> None:
    async def policies(chosen: int | None = None) -> tuple[int, int, int]:
        """The thread's policy inside, inside again after a second session, and afterwards."""
        if chosen is not None:
            os.sched_setscheduler(0, chosen, os.sched_param(0))
        async with Session().keep_open([]):
            inside = os.sched_getscheduler(0)
            async with Session().keep_open([]):
                pass
            again = os.sched_getscheduler(0)
        return inside, again, os.sched_getscheduler(0)

    before = os.sched_getscheduler(0)
    assert asyncio.run(policies()) == (os.SCHED_BATCH, os.SCHED_BATCH, before)
    with ThreadPoolExecutor(1) as thread:  # a policy that someone chose stays
        assert thread.submit(asyncio.run, policies(os.SCHED_IDLE)).result() == 3 * (os.SCHED_IDLE,)
