"""Whether a run made data that can be used: a run that made none, or lost too much, fails and says why."""

from typing import NamedTuple

from charter.config import Config
from charter.core.errors import NoDataError
from charter.core.losses import BY_DESIGN, Losses
from charter.data.shards import count_rows, read_rows

FEWEST_ROWS = 4
"""Rows of SFT, and pairs, below which nothing is trained: a model would only learn them by heart."""


class MadeData(NamedTuple):
    """What a run made of its prompts.

    Attributes:
        prompts: that it used.
        sft: rows of SFT.
        pairs: of the preference step.
    """

    prompts: int
    sft: int
    pairs: int


def check_dataset(config: Config) -> MadeData:
    """Check that a run made data, and lost no more of it than `generation.max_lost_share`.

    Raises:
        NoDataError: it made none or lost more; with the reasons, an example and what to change.
    """
    folder, limit = config.run_folder, config.generation.max_lost_share
    made = MadeData(*(count_rows(folder / name) for name in ("prompts", "sft_data", "pairs")))
    if not made.sft and not made.pairs:
        raise NoDataError(
            f"run '{folder}': made no SFT rows and no pairs of {made.prompts:,} prompts. {_losses(config)}"
        )
    # A row that fails in one strategy may end in a pair of another: only rows that left the run entirely are lost.
    kept = {row["row_id"] for name in ("sft_data", "pairs") for row in read_rows(folder / name, ("row_id",))}
    failed = {
        row["row_id"]
        for row in read_rows(folder / "failures", ("row_id", "stage", "reason"))
        if row["stage"] != "prompts" and row["reason"] not in BY_DESIGN
    }
    if (lost := len(failed - kept)) > limit * made.prompts:
        raise NoDataError(
            f"run '{folder}': {lost:,} of {made.prompts:,} rows failed, more than generation.max_lost_share {limit:g}. "
            f"{_losses(config)} Raise generation.max_lost_share to go on regardless; answers are kept."
        )
    return made


def check_trainable(config: Config) -> None:
    """Check that there is enough to train on, before anything is trained.

    Raises:
        NoDataError: there is not; with the reasons, an example and what to change.
    """
    made = check_dataset(config)
    uses_pairs = not config.training.asks_judge
    for name, rows, needed in (("SFT rows", made.sft, True), ("pairs", made.pairs, uses_pairs)):
        if needed and rows < FEWEST_ROWS:
            raise NoDataError(
                f"run '{config.run_folder}': {rows} {name} of {made.prompts:,} prompts, and training needs at least "
                f"{FEWEST_ROWS}. Use more prompts. {_losses(config)}"
            )


def _losses(config: Config) -> str:
    losses = Losses()
    losses.add_failures(row for row in read_rows(config.run_folder / "failures") if row["stage"] != "prompts")
    return f"{losses.text()} All of them: {config.run_folder / 'failures'}."
