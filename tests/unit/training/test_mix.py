"""The share of SFT's rows that needed no revision, and the pairs that the judge is sure enough of."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charter.config import Training
from charter.core.errors import DataError
from charter.training import models
from charter.training.identity import hash_inputs
from charter.training.job import Job
from charter.training.rows import Rows, over_share
from charter.training.worker import read_rows
from tests.support.training_data import pairs, write_rows, write_sft


def write(path: Path, revised: int, helpful: int) -> Path:
    table = pq.read_table(write_sft(path, revised + helpful))
    source = pa.array(["revision"] * revised + ["response"] * helpful)
    pq.write_table(table.append_column("source", source), path)
    return path


@pytest.mark.parametrize(("share", "stay"), [(0.0, 0), (0.2, 2), (0.25, 2), (0.5, 8), (0.75, 24), (0.9, 40), (1.0, 40)])
def test_helpful_answers_stay_up_to_their_share(tmp_path: Path, share: float, stay: int) -> None:
    data = write(tmp_path / "sft.parquet", 8, 40)
    left_out = over_share(data, share)
    assert len(left_out) == 40 - stay
    assert all(int(row.row_id.removeprefix("s")) >= 8 for row in left_out)
    assert left_out == over_share(data, share)


def test_more_is_asked_of_the_same_lot(tmp_path: Path) -> None:
    data = write(tmp_path / "sft.parquet", 8, 40)
    few, many = ({row.row_id for row in over_share(data, share)} for share in (0.75, 0.5))
    assert few < many


def test_data_that_cannot_be_mixed_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column source.*Leave training\.sft\.helpful_share out"):
        over_share(write_sft(tmp_path / "sft.parquet", 4), 0.5)
    with pytest.raises(DataError, match="no revisions at all"):
        over_share(write(tmp_path / "sft.parquet", 0, 4), 0.5)
    assert over_share(write_sft(tmp_path / "sft.parquet", 4), 1.0) == []


def test_what_is_over_the_share_is_not_trained_on_and_is_kept_with_its_reason(tiny: Path, tmp_path: Path) -> None:
    data, settings = write(tmp_path / "sft.parquet", 8, 40), Training.model_validate({"sft": {"helpful_share": 0.5}})
    tokenizer = models.load_tokenizer(str(tiny))
    job = Job("sft", str(tiny), data, tmp_path, settings, 0, "")
    rows = read_rows(job, tokenizer, models.end_tokens(str(tiny), tokenizer))
    assert (len(rows.kept), rows.reasons) == (16, {"helpful-share": 32})
    assert pq.read_table(tmp_path / "dropped.parquet")["reason"].to_pylist() == ["helpful-share"] * 32


def kept(model: Path, data: Path, out: Path, **dpo: Any) -> Rows:
    tokenizer = models.load_tokenizer(str(model))
    job = Job("dpo", str(model), data, out, Training.model_validate({"dpo": dpo}), 0, "")
    return read_rows(job, tokenizer, models.end_tokens(str(model), tokenizer))


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
def test_pairs_that_the_judge_is_not_sure_of_are_left_out_one_by_one(tiny: Path, tmp_path: Path, soft: bool) -> None:
    rows = [{**row, "row_id": f"r{i // 2}", "p_chosen": (0.6, 0.8, 0.95)[i % 3]} for i, row in enumerate(pairs(12))]
    data = write_rows(tmp_path / "pairs.parquet", rows)
    made = kept(tiny, data, tmp_path, soft_labels=soft, min_p=0.8)
    assert (len(made.kept), made.reasons) == (8, {"under-min-p": 4})  # a prompt keeps the other of its two pairs
    assert [row.get("p_chosen") for row in made.kept] == ([0.8, 0.95] * 4 if soft else [None] * 8)
    dropped = pq.read_table(tmp_path / "dropped.parquet").to_pylist()
    assert [(row["row_id"], row["stage"], row["detail"]) for row in dropped] == [
        (f"r{i // 2}", "dpo", "p_chosen is 0.6, under 0.8") for i in (0, 3, 6, 9)
    ]
    assert len(kept(tiny, data, tmp_path, soft_labels=soft).kept) == 12


def test_another_limit_is_another_model(tiny: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.parquet", pairs(12, p=0.9))
    settings = [Training.model_validate({"dpo": {"min_p": least}}) for least in (0.5, 0.6, 0.6)]
    one, other, again = (hash_inputs("dpo", str(tiny), data, each, 0) for each in settings)
    assert one != other == again


def test_a_limit_over_every_pair_says_so(tiny: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.parquet", pairs(4, p=0.7))
    with pytest.raises(DataError, match=r"the judge is less sure of every pair than training\.dpo\.min_p 0\.9"):
        kept(tiny, data, tmp_path, min_p=0.9)
