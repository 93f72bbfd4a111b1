"""What training changed, token by token: asked of a process of its own. Without torch.

The folder of such a look holds ``request.json``, ``tokens.log`` and, written last, ``tokens.json``. The same request
again is read from there.
"""

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from charter.core.errors import TrainingError
from charter.core.files import write_text_atomic
from charter.training.launch import child_environment
from charter.training.process import follow
from charter.training.token_rewards import RESULT, Heat, read_heat

REQUEST, LOG = "request.json", "tokens.log"
LARGEST, SMALLEST, AT_RANDOM, HELD_OUT = 2, 2, 2, 2
"""How many pairs of each sort are shown."""

_LAST_LINES = 8


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, the first of which was to become more likely.

    Attributes:
        source: pairs that were trained on; or, for a held-out request, the trained model's answer and the base's.
    """

    prompt: list[dict[str, str]]
    chosen: str
    rejected: str
    source: Literal["training", "held-out"] = "training"
    kind: str | None = None
    p_chosen: float | None = None


@dataclass(frozen=True)
class Answer:
    """One answer of the trained model."""

    prompt: list[dict[str, str]]
    text: str


@dataclass(frozen=True)
class Request:
    """What is looked at.

    Attributes:
        model: the trained model, a folder.
        reference: the folder or hub id of the model that it was trained from and held to.
        base: the model before any training; it may be the reference.
        names: of these three, as the report calls them.
        identities: of these three, by content.
        beta: of the preference loss.
        max_length: rows of more tokens are left out, as they are in training.
        pairs: in the order of the lot.
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
    pairs: list[Pair]
    answers: list[Answer]
    drawn_from: dict[str, int]

    @property
    def key(self) -> str:
        """The hash of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def look(request: Request, folder: Path) -> Heat:
    """Compute what is asked for in a process of its own, and leave it in `folder`.

    Raises:
        TrainingError: the process failed, with the end of its log.
    """
    known = read_heat(folder)
    if known is not None and known.key == request.key and not known.problem:
        return known
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    write_text_atomic(folder / REQUEST, json.dumps(asdict(request)))
    by_hand = [sys.executable, "-P", "-m", "charter.training.token_worker", str((folder / REQUEST).resolve())]
    log = folder / LOG
    log.write_text(f"$ {shlex.join(by_hand)}\n", encoding="utf-8")
    local = all(Path(model).is_dir() for model in (request.model, request.reference, request.base))
    tied = [*by_hand[:3], "charter.training.child", *by_hand[3:]]
    code = follow(tied, child_environment(local), log, {})
    heat = read_heat(folder)
    if heat is None:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        raise TrainingError(
            f"tokens of model '{request.model}': the process that looks at them ended with status {code}. "
            "Set tokens.pairs=0 to do without, or run the first line of its log by hand: "
            f"{log}\n" + "\n".join(f"  {line}" for line in lines)
        )
    return heat


def read_request(path: Path) -> Request:
    """What `look` wrote for the process."""
    return _REQUEST.validate_json(path.read_bytes())


def choose(pairs: Sequence[Pair], margins: Sequence[float], drawn_from: dict[str, int]) -> list[tuple[int, str]]:
    """Which pairs are shown, by their place, and how it is said that they were chosen.

    Args:
        pairs: in the order of the lot, so that the first of those that are left are drawn at random.
        margins: implicit reward of the chosen answer less that of the rejected one, of each pair.
        drawn_from: how many pairs of each source the lot had.
    """
    places = {source: [i for i, p in enumerate(pairs) if p.source == source] for source in ("training", "held-out")}
    training = places["training"]
    ranked = sorted(training, key=lambda i: -margins[i])
    largest, others = ranked[:LARGEST], ranked[LARGEST:]
    smallest = others[-SMALLEST:]
    drawn = [i for i in training if i not in largest and i not in smallest][:AT_RANDOM]
    scored = f"{len(training)} training pairs"
    if drawn_from["training"] > len(training):
        scored += f", themselves drawn from {drawn_from['training']}"
    held_out = f"held-out request, drawn at random from {drawn_from['held-out']} that both models answered differently"
    said = [(i, f"largest margin of {scored}") for i in largest]
    said += [(i, f"smallest margin of {scored}") for i in reversed(smallest)]
    said += [(i, f"drawn at random from {scored}") for i in drawn]
    return said + [(i, held_out) for i in places["held-out"][:HELD_OUT]]


_REQUEST = TypeAdapter(Request)
