"""When lost rows stop a stage, and what a run says about them."""

import pytest

from charter.core.errors import NoDataError
from charter.core.losses import ADVICE, Losses, StageLosses


def lose(losses: StageLosses, reason: str, rows: int) -> None:
    for row in range(rows):
        if losses.begin():
            losses.add(reason, "revise", f"r{row}", "some words")


@pytest.mark.parametrize("total", [1, 6, 120, 5000])
def test_a_stage_that_loses_every_row_stops_within_its_first_tenth_or_hundred_rows(total: int) -> None:
    losses = StageLosses("revise", total, 0.1)
    allowed = min(100, max(5, -(-total // 10)), total)
    with pytest.raises(NoDataError, match="no-verdict"):
        lose(losses, "no-verdict", allowed)


def test_rows_left_out_by_design_stop_nothing() -> None:
    lose(StageLosses("judge", 5000, 0.1), "tie", 5000)


def test_losses_within_the_limit_stop_nothing_though_the_lost_rows_end_first() -> None:
    losses = StageLosses("revise", 1000, 0.5)
    lose(losses, "cut-off", 50)  # of the first 100, the other 50 of which are still at work


def test_a_limit_of_one_is_off() -> None:
    lose(StageLosses("revise", 1000, 1.0), "cut-off", 1000)


def test_the_most_common_reason_comes_with_count_example_and_advice() -> None:
    losses = Losses()
    for reason in ("tie", "cut-off", "cut-off"):
        losses.add(reason, "respond", "r1", "length: once upon")
    text = losses.text()
    assert "2 cut-off" in text and "1 tie" in text and "once upon" in text and ADVICE["cut-off"] in text
