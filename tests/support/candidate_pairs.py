"""What a run with the default settings makes of walked rows, before the judge: for tests of what comes after."""

from collections.abc import Sequence

from charter.config import Filters, Pairs
from charter.pipeline.filters import filter_candidates
from charter.pipeline.rows import Outcome, Row
from charter.pipeline.strategies import Plan, candidates, gather


def candidate_pairs(walked: Sequence[Row]) -> Outcome:
    """Last revision against first answer, through the filters."""
    return filter_candidates(candidates(gather(walked, ()), Plan(Pairs(), 0.5, 1)), Filters(), "en")
