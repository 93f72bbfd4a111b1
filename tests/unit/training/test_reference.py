"""What was computed under the reference is kept, read again, and never taken for something else's."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from charter.training.preference import Reference, read_reference, write_reference
from tests.support.tiny_model import make_tiny_model
from tests.support.training_build import build_random


def columns(trainer: Any) -> Reference:
    data = trainer.train_dataset
    return Reference(list(data["ref_chosen_logps"]), list(data["ref_rejected_logps"]))


def alter(path: Path) -> Reference:
    """Other numbers under the same key, so that whoever reads them is seen to."""
    table = pq.read_table(path)
    key = table.schema.metadata[b"charter.reference"].decode()
    other = Reference(*([value - 1 for value in table[side].to_pylist()] for side in ("chosen", "rejected")))
    write_reference(path, key, other)
    return other


def test_what_is_written_is_read_under_its_key_only(tmp_path: Path) -> None:
    path, reference = tmp_path / "reference.parquet", Reference([-1.25, -3.5], [-2.0, -0.1])
    assert read_reference(path, "a") is None
    write_reference(path, "a", reference)
    assert read_reference(path, "a") == reference
    assert read_reference(path, "b") is None
    path.write_bytes(path.read_bytes()[:40])
    assert read_reference(path, "a") is None


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_same_pairs_and_weights_are_not_computed_again(tiny: Path, tmp_path: Path, method: str) -> None:
    first, _ = build_random(tiny, tmp_path, 5, None, method=method)
    assert read_again(tiny, tmp_path, method=method)
    assert all(value < -1 for value in columns(first).chosen)


@pytest.mark.parametrize("changes", [{"loss": "ipo"}, {"beta": 0.5, "sft_weight": 0.0, "learning_rate": 1.0}])
def test_another_loss_reads_them_too(tiny: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    build_random(tiny, tmp_path, 5, None)
    assert read_again(tiny, tmp_path, **changes)


def test_other_pairs_or_weights_are_computed(tiny: Path, tmp_path: Path) -> None:
    build_random(tiny, tmp_path, 5, None)
    assert not read_again(tiny, tmp_path, seed=1)
    other = make_tiny_model(tmp_path / "other", seed=1)
    assert not read_again(other, tmp_path, seed=1)
    assert read_again(other, tmp_path, seed=1)


def read_again(model: Path, folder: Path, **changes: Any) -> bool:
    """Whether a trainer built now takes its numbers from the file."""
    altered = alter(folder / "out" / "reference.parquet")
    trainer, _ = build_random(model, folder, 5, None, **changes)
    return columns(trainer) == altered


def test_they_are_those_of_the_reference_batch_by_batch(tiny: Path, tmp_path: Path) -> None:
    """Batches of two, the last of one, give what one batch gives, in the order of the pairs."""
    small, _ = build_random(tiny, tmp_path, 5, None, batch_size=1)
    shutil.rmtree(tmp_path / "out")
    whole, _ = build_random(tiny, tmp_path, 5, None)
    for one, other in zip(columns(small), columns(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert len(set(columns(whole).chosen)) == 5
