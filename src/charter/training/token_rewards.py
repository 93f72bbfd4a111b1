"""What training changed, token by token: the request, its result, and the process that computes it. Without torch.

The folder contains ``request.json``, ``tokens.log`` and, written last, ``tokens.json``. The same request again is
answered from there.
"""

import hashlib
import json
import shlex
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from charter.core.errors import TrainingError
from charter.core.files import write_text_atomic
from charter.core.processes import follow, last_lines
from charter.training.launch import training_environment

FOLDER, RESULT, REQUEST, LOG = "tokens", "tokens.json", "request.json", "tokens.log"
"""The folder within the run's folder, and its files."""

LARGEST, SMALLEST, AT_RANDOM, HELD_OUT = 2, 2, 2, 2
"""How many pairs of each sort are shown."""

_LAST_LINES = 8


@dataclass(frozen=True)
class TokenPair:
    """Two answers to one prompt, of which training was to make the first more likely.

    Attributes:
        source: a pair that was trained on; or, for a held-out request, the trained model's answer and the base's.
    """

    prompt: list[dict[str, str]]
    chosen: str
    rejected: str
    source: Literal["training", "held-out"] = "training"
    kind: str | None = None
    p_chosen: float | None = None


@dataclass(frozen=True)
class TokenAnswer:
    """One answer of the trained model."""

    prompt: list[dict[str, str]]
    text: str


@dataclass(frozen=True)
class TokenRequest:
    """What to measure.

    Attributes:
        model: the trained model, a folder.
        reference: the folder or hub id of the model that it was trained from and regularised to.
        base: the model before any training; it may be the reference.
        names: of these three, as in the report.
        identities: of these three, by content.
        beta: of the preference loss.
        max_length: rows of more tokens are left out, as in training.
        pairs: in random order.
        answers: those over which the divergence is measured.
        drawn_from: how many pairs of each source there are.
    """

    model: str
    reference: str
    base: str
    names: tuple[str, str, str]
    identities: tuple[str, str, str]
    beta: float
    max_length: int
    pairs: list[TokenPair]
    answers: list[TokenAnswer]
    drawn_from: dict[str, int]

    @property
    def key(self) -> str:
        """The hash of the whole request."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class TokenRewards:
    """An answer with β·log π/π_ref of each of its tokens, in nats, and their sum: its implicit reward.

    Attributes:
        tokens: the first tokens as text; tokens that are one character together are joined.
        rewards: one per element of `tokens`.
        total: over all tokens.
        count: of all tokens.
    """

    tokens: list[str]
    rewards: list[float]
    total: float
    count: int


@dataclass(frozen=True)
class PairRewards:
    """A pair that is shown, with a sentence on how it was selected."""

    how: str
    prompt: str
    chosen: TokenRewards
    rejected: TokenRewards
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
class TokenReport:
    """What was measured; `problem` is the reason if there is nothing."""

    key: str
    model: str
    identity: str
    reference: str
    beta: float
    scored: int = 0
    ranked_right: int = 0
    pairs: list[PairRewards] = field(default_factory=list)
    divergence: list[Divergence] = field(default_factory=list)
    problem: str = ""


def write_token_report(folder: Path, report: TokenReport) -> None:
    """Write ``tokens.json`` into `folder`."""
    write_text_atomic(folder / RESULT, json.dumps(asdict(report), ensure_ascii=False) + "\n")


def read_token_report(folder: Path) -> TokenReport | None:
    """The report in `folder`; None if it is missing or cannot be read."""
    try:
        return _REPORT.validate_json((folder / RESULT).read_bytes())
    except (OSError, ValueError):
        return None


def read_token_request(path: Path) -> TokenRequest:
    """The request that `measure_tokens` wrote for its process."""
    return _REQUEST.validate_json(path.read_bytes())


def measure_tokens(request: TokenRequest, folder: Path, stop: threading.Event | None = None) -> TokenReport:
    """Compute a request in its own process, and keep the report in `folder`. Blocks until it ends.

    Raises:
        TrainingError: the process failed; gives the end of its log.
        Interrupted: another thread set `stop`.
    """
    known = read_token_report(folder)
    if known is not None and known.key == request.key and not known.problem:
        return known
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    write_text_atomic(folder / REQUEST, json.dumps(asdict(request)))
    command = [sys.executable, "-P", "-m", "charter.training.token_worker", str((folder / REQUEST).resolve())]
    log = folder / LOG
    log.write_text(f"$ {shlex.join(command)}\n", encoding="utf-8")
    local = all(Path(model).is_dir() for model in (request.model, request.reference, request.base))
    status = follow(command, log, training_environment(local), {}, stop)
    report = read_token_report(folder)
    if report is None:
        raise TrainingError(
            f"tokens of model '{request.model}': the process that measures them ended with status {status}. "
            "Set tokens.pairs=0 to leave them out, or run the first line of its log by hand: "
            f"{log}\n{last_lines(log, _LAST_LINES)}"
        )
    return report


def select_pairs(
    pairs: Sequence[TokenPair], margins: Sequence[float], drawn_from: dict[str, int]
) -> list[tuple[int, str]]:
    """Which pairs are shown: their indices, each with a sentence on how it was selected.

    Args:
        pairs: in random order, so that the first of those that are left are random.
        margins: of each pair, the implicit reward of the chosen answer minus that of the rejected one, in nats.
        drawn_from: how many pairs of each source there are.
    """
    training = [i for i, pair in enumerate(pairs) if pair.source == "training"]
    held_out = [i for i, pair in enumerate(pairs) if pair.source == "held-out"]
    ranked = sorted(training, key=lambda i: -margins[i])
    largest, others = ranked[:LARGEST], ranked[LARGEST:]
    smallest = others[-SMALLEST:]
    at_random = [i for i in training if i not in largest and i not in smallest][:AT_RANDOM]
    scored = f"{len(training)} training pairs"
    if drawn_from["training"] > len(training):
        scored += f", themselves drawn from {drawn_from['training']}"
    request = f"held-out request, drawn at random from {drawn_from['held-out']} that both models answered differently"
    return [
        *((i, f"largest margin of {scored}") for i in largest),
        *((i, f"smallest margin of {scored}") for i in reversed(smallest)),
        *((i, f"drawn at random from {scored}") for i in at_random),
        *((i, request) for i in held_out[:HELD_OUT]),
    ]


_REQUEST, _REPORT = TypeAdapter(TokenRequest), TypeAdapter(TokenReport)
