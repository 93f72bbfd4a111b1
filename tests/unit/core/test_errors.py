"""What comes out of rows that went side by side."""

import asyncio

import pytest

from charter.core.errors import ServingError, unwrap_single_error


class Signal(BaseException):
    """As Prefect's is: no error, and no KeyboardInterrupt."""


async def fail(error: BaseException) -> None:
    raise error


async def side_by_side(*errors: BaseException) -> None:
    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fail(error))


async def test_the_same_mistake_of_many_rows_is_one_error() -> None:
    with pytest.raises(ServingError, match="first"), unwrap_single_error():
        await side_by_side(ServingError("first"), ServingError("second"))


async def test_a_signal_that_met_a_row_is_found_by_whoever_sent_it() -> None:
    with pytest.raises(Signal), unwrap_single_error():
        async with asyncio.TaskGroup() as group:
            group.create_task(side_by_side(ServingError("down"), Signal()))


async def test_what_is_no_mistake_of_a_user_stays_as_it_was_raised() -> None:
    with pytest.raises(ExceptionGroup), unwrap_single_error():
        await side_by_side(ServingError("down"), ZeroDivisionError())
