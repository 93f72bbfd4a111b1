"""What is told of a stage while its rows are under way."""

import asyncio
from typing import Any

import pytest

from charter.pipeline import rows as context
from charter.pipeline.rows import Progress, RowFailed, each_row

ROWS = [{"row_id": f"r{i}"} for i in range(4)]


async def test_a_stage_is_seen_to_be_at_work_before_a_row_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "PULSE_S", 0.01)
    told, enough = list[Progress](), asyncio.Event()

    def tell(progress: Progress) -> None:
        told.append(progress)
        if len(told) >= 3:
            enough.set()

    async def work(row: Any) -> list[dict[str, Any]]:
        await enough.wait()
        return [dict(row)]

    await each_row(ROWS, "revise", work, tell)
    assert told[:3] == 3 * [Progress("revise", 0, 4)]
    assert told[-1] == Progress("revise", 4, 4)


async def test_failures_are_told_by_reason() -> None:
    told = list[Progress]()

    async def work(row: Any) -> list[dict[str, Any]]:
        if row["row_id"] == "r0":
            return [dict(row)]
        raise RowFailed("judge", "tie" if row["row_id"] == "r1" else "empty")

    await each_row(ROWS, "judge", work, told.append)
    assert told[-1] == Progress("judge", 4, 4, 3, {"tie": 1, "empty": 2})


async def test_who_cannot_be_told_ends_the_stage() -> None:
    def tell(progress: Progress) -> None:
        raise ZeroDivisionError

    async def work(row: Any) -> list[dict[str, Any]]:
        await asyncio.sleep(0.05)
        return [dict(row)]

    with pytest.raises((ExceptionGroup, ZeroDivisionError)):
        await each_row(ROWS, "judge", work, tell)
