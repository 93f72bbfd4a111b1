"""The share of SFT's rows that needed no revision."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charter.config import Training
from charter.errors import DataError
from charter.training import models
from charter.training.job import Job
from charter.training.mix import over_share
from charter.training.worker import _read_rows
from tests.training_data import write_sft


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
    rows = _read_rows(job, tokenizer, models.end_tokens(str(tiny), tokenizer))
    assert (len(rows.kept), rows.reasons) == (16, {"helpful-share": 32})
    assert pq.read_table(tmp_path / "dropped.parquet")["reason"].to_pylist() == ["helpful-share"] * 32
