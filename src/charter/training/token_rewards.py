"""What training changed, token by token, as a run keeps it: written after training, read by the report."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from charter.core.files import write_text_atomic

FOLDER, RESULT = "tokens", "tokens.json"
"""Where it is kept, in the run's folder."""


@dataclass(frozen=True)
class Weighed:
    """An answer with β·log π/π_ref of each of its tokens, in nats, and their sum: its implicit reward.

    Attributes:
        tokens: the first of them; those that are one character together are one.
        total: over all of them.
        count: how many there are in all.
    """

    tokens: list[str]
    rewards: list[float]
    total: float
    count: int


@dataclass(frozen=True)
class WeighedPair:
    """A pair that is shown, and in words how it was chosen."""

    how: str
    prompt: str
    chosen: Weighed
    rejected: Weighed
    source: str = "training"
    kind: str | None = None
    p_chosen: float | None = None


@dataclass(frozen=True)
class Divergence:
    """KL(π ‖ π_name) per token, in nats, over the whole vocabulary: its mean over answers, with a 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Heat:
    """What a look at the tokens found; `problem` says why there is nothing."""

    key: str
    model: str
    identity: str
    reference: str
    beta: float
    scored: int = 0
    ranked_right: int = 0
    pairs: list[WeighedPair] = field(default_factory=list)
    divergence: list[Divergence] = field(default_factory=list)
    problem: str = ""


def write_heat(folder: Path, heat: Heat) -> None:
    """Keep it in `folder`."""
    write_text_atomic(folder / RESULT, json.dumps(asdict(heat), ensure_ascii=False) + "\n")


def read_heat(folder: Path) -> Heat | None:
    """What was found, if anybody looked."""
    try:
        return _HEAT.validate_json((folder / RESULT).read_bytes())
    except (OSError, ValueError):
        return None


_HEAT = TypeAdapter(Heat)
