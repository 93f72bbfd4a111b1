"""2,312 real dialogues through the chain: every row comes out or is kept with its reason."""

from pathlib import Path

import polars as pl
import pytest

from charter.inference import Served
from tests.system.conftest import RunFlow

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1500)]


def test_every_hh_rlhf_dialogue_is_accounted_for(
    sandbox_server: Served, run_flow: RunFlow, shared_data: Path, tmp_path: Path
) -> None:
    done = run_flow(
        "dataset",
        "configs/hh-rlhf.yaml",
        f"outputs={tmp_path}",
        f"prompts.source={shared_data / 'hh_rlhf_harmless_test.jsonl.gz'}",
        f"serving.base_urls=['{sandbox_server.base_url}']",
        timeout=1400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    folder = tmp_path / "hh-rlhf"
    rows = {name: pl.read_parquet(folder / name / "*.parquet") for name in ("prompts", "failures", "pairs", "sft_data")}
    rejected = rows["failures"].filter(pl.col("stage") == "prompts")
    assert rows["prompts"].height + rejected.height == 2312
    assert rejected["reason"].to_list() == ["duplicate"] * 2  # whole dialogues; 135 share no more than their first turn
    ended = set(rows["failures"]["row_id"]) | set(rows["pairs"]["row_id"]) | set(rows["sft_data"]["row_id"])
    assert set(rows["prompts"]["row_id"]) <= ended
