"""A run that makes nothing, too little, or loses too much fails, and says why and what to change."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from charter.api import make_dataset
from charter.config import Config
from charter.core.errors import NoDataError
from charter.core.losses import ADVICE
from charter.core.messages import Message
from charter.runs.outcome import check_trainable
from charter.testing.null_server import NullServer, run_null_server
from tests.support.numbered_prompts import config_with_prompts

Answer = Callable[[Sequence[Message]], str]


def config(outputs: Path, url: str, n: int, **generation: object) -> Config:
    return config_with_prompts(outputs, url, n, generation={"shard_size": 10, **generation})


def well_behaved(messages: Sequence[Message]) -> str:
    last = messages[-1]["content"]
    if "Verdict:" in last:
        return "Verdict: violated"
    return "good: I will not." if last.startswith("Rewrite") else f"bad: {last}"


def without_answers(messages: Sequence[Message]) -> str:
    """An empty answer to every prompt."""
    return "" if len(messages) == 1 else well_behaved(messages)


def unchanged(messages: Sequence[Message]) -> str:
    """No critique finds anything, and no answer is one that SFT could learn."""
    return "Verdict: respected" if "Verdict:" in messages[-1]["content"] else "x " * 60


def test_a_run_that_loses_every_row_stops_within_the_first_tenth_with_reason_and_advice(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=without_answers, parallel=1)) as server:
        with pytest.raises(NoDataError) as raised:
            make_dataset(config(tmp_path, server.url, 200, concurrency=1))
        asked = server.counts["requests"]
    assert asked <= 200 / 10 + 5
    assert "empty" in str(raised.value) and ADVICE["empty"] in str(raised.value)
    assert raised.value.exit_status == 5
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_a_run_whose_rows_are_all_left_out_by_design_made_nothing(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=unchanged)) as server, pytest.raises(NoDataError, match="repetition"):
        make_dataset(config(tmp_path, server.url, 20))


def test_a_run_that_loses_more_than_its_limit_fails_though_some_rows_are_left(tmp_path: Path) -> None:
    def often_empty(messages: Sequence[Message]) -> str:
        return "" if len(messages) == 1 and messages[0]["content"][-2] in "012" else well_behaved(messages)

    with run_null_server(NullServer(answer=often_empty)) as server:
        with pytest.raises(NoDataError, match="max_lost_share"):
            make_dataset(config(tmp_path / "strict", server.url, 40, max_lost_share=0.2))
        run = make_dataset(config(tmp_path / "lenient", server.url, 40, max_lost_share=0.4))
    check_trainable(run.config)


def test_too_few_rows_are_a_dataset_but_not_enough_to_train_on(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=well_behaved)) as server:
        run = make_dataset(config(tmp_path, server.url, 3))
    with pytest.raises(NoDataError, match="training needs"):
        check_trainable(run.config)
