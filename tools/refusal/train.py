"""The recipe of `refusal_weights.json`.

``python -m tools.refusal.train FOLDER`` reads XSTest's ``completions_*.csv`` (columns prompt,
completion, final_label), reports accuracy on each model when it is left out, and writes the weights learnt from all.

With two models' answers as data, what words mean has to come from elsewhere as well: the weights are
drawn towards what each group of the lexicon leans to (the mean of a Gaussian prior), not towards zero.
For the same reason answers in other manners (`examples.yaml`) and the first sentences of the labelled ones
are learnt from as well. Without that, a model learns one assistant's manner of refusing and misses the next one's.
"""

import csv
import json
import math
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from charter.pipeline.refusal.classifier import (
    LABELS,
    WEIGHTS,
    RefusalLabel,
    RefusalModel,
    choose_label,
    refusal_probabilities,
)
from charter.pipeline.refusal.features import PLACES, after_thoughts, features, lexicon

EXAMPLES = Path(__file__).with_name("examples.yaml")

EXAMPLE_WEIGHT = 0.6
"""What one made-up answer counts beside one that a person labelled."""

BEGINNING_WEIGHT = 0.5
"""The same for the first sentence alone of a labelled answer."""

STRENGTH = 4.0
"""Pull towards the prior: its precision, in units of one answer's information."""

ITERATIONS = 400

PLACE_LEAN = {"first": 1.0, "open": 0.6, "rest": 0.2}
"""A phrase says most about an answer where it begins."""

SPLIT = (0.4, 0.6)
"""How a lean to refusal is shared by partial and full."""

# compliance, partial, full: what the facts that are no phrases lean to
FACT_LEAN = {
    "denies what it repeats": (-1.0, 0.4, 0.6),
    "starts with no": (-0.5, 0.2, 0.3),
    "starts with to": (0.8, -0.3, -0.5),
    "list": (0.5, 0.2, -0.7),
    "code": (0.5, 0.0, -0.5),
    "refuses, no list": (-0.6, -0.2, 0.8),
    "refuses, then lists": (-0.3, 0.8, -0.5),
    "no access, privacy": (-0.6, 1.0, -0.4),
    "declines, then lists": (-0.3, 0.8, -0.5),
    "declines anywhere": (-1.0, 0.5, 0.5),
    "refuses fiction": (1.0, -0.3, -0.7),
    "denies by evidence": (1.0, -0.3, -0.7),
    "lectures, then lists": (-0.2, 0.6, -0.4),
}

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

_SENTENCE = re.compile(r"(?<=[.!?])\s")


class Labelled(NamedTuple):
    """One answer with a person's label."""

    prompt: str
    response: str
    label: RefusalLabel


class Quality(NamedTuple):
    """Of a classifier on one model's answers."""

    accuracy: float
    macro_f1: float
    n: int


def read_sets(path: Path) -> list[Labelled]:
    """Answers in a YAML file of sets by style, each with its prompt; for answers that nothing is learnt from."""
    sets = yaml.safe_load(path.read_text(encoding="utf-8"))
    given = [(row, label) for group in sets for label in LABELS for row in group.get(label.value, [])]
    return [Labelled(row["prompt"], row["response"], label) for row, label in given]


def read_labelled(path: Path) -> list[Labelled]:
    """The rows of one of XSTest's files."""
    of = {"1": RefusalLabel.COMPLIANCE, "2": RefusalLabel.REFUSAL, "3": RefusalLabel.PARTIAL}
    with path.open(encoding="utf-8", newline="") as file:
        return [Labelled(r["prompt"], r["completion"], of[r["final_label"][0]]) for r in csv.DictReader(file)]


def train(rows: Sequence[Labelled]) -> RefusalModel:
    """Softmax regression with the lexicon's leaning as its prior; convex, so there is one answer."""
    parts = [(rows, 1.0), (beginnings(rows), BEGINNING_WEIGHT), (read_examples(), EXAMPLE_WEIGHT)]
    described = [features(row.prompt, after_thoughts(row.response)) for part, _ in parts for row in part]
    names = sorted({name for values in described for name in values})
    x = np.array([[values.get(name, 0.0) for name in names] + [1.0] for values in described])
    y = np.array([[float(row.label is label) for label in LABELS] for part, _ in parts for row in part])
    importance = np.array([weight for part, weight in parts for _ in part])
    weights = _fit(x, y, importance, prior(names))
    table = {name: tuple(round(float(v), 4) for v in weights[i]) for i, name in enumerate(names)}
    return RefusalModel(tuple(round(float(v), 4) for v in weights[-1]), table)


def beginnings(rows: Sequence[Labelled]) -> list[Labelled]:
    """The first sentence of each answer that complies or refuses throughout: it does so on its own as well."""
    whole = [row for row in rows if row.label is not RefusalLabel.PARTIAL]
    return [row._replace(response=_SENTENCE.split(row.response.strip(), maxsplit=1)[0]) for row in whole]


def read_examples() -> list[Labelled]:
    """The answers of `examples.yaml`."""
    sets = yaml.safe_load(EXAMPLES.read_text(encoding="utf-8"))
    return [
        Labelled(prompt, answer, label)
        for group in sets
        for label in LABELS
        for answer in group.get(label.value, [])
        for prompt in group["prompts"]
    ]


def prior(names: Sequence[str]) -> Matrix:
    """The mean that weights are drawn to, a row per feature and one for the bias."""
    leans = {name: group.lean for name, group in lexicon().items()} | {
        "serve": -1.0,
        "was not ok": 0.0,
        "was illegal": 0.0,
    }
    rows = []
    for name in names:
        group, _, place = name.partition("@")
        if place in PLACES:
            lean = leans[group] * PLACE_LEAN[place]
            rows.append((lean, -SPLIT[0] * lean, -SPLIT[1] * lean))
        else:
            rows.append(FACT_LEAN.get(name, (0.0, 0.0, 0.0)))
    return np.array([*rows, (0.0, 0.0, 0.0)])


def assess(rows: Sequence[Labelled], model: RefusalModel) -> Quality:
    """Accuracy of "was anything refused?", and the mean F1 of the three labels."""
    predicted = [choose_label(refusal_probabilities(row.prompt, row.response, model)) for row in rows]
    right = sum(label.refused == row.label.refused for label, row in zip(predicted, rows, strict=True))
    scores = []
    for label in LABELS:
        both = sum(p is label and row.label is label for p, row in zip(predicted, rows, strict=True))
        either = sum(p is label for p in predicted) + sum(row.label is label for row in rows)
        scores.append(2 * both / either if either else 1.0)
    return Quality(right / len(rows), sum(scores) / len(scores), len(rows))


def leave_one_out(data: dict[str, list[Labelled]]) -> dict[str, Quality]:
    """For each model, the quality of weights that never saw its answers."""
    return {
        name: assess(rows, train([row for other, others in data.items() if other != name for row in others]))
        for name, rows in data.items()
    }


def main(folder: Path) -> None:
    """Train on every file in `folder`, report, and write the weights."""
    data = {path.stem.removeprefix("completions_"): read_labelled(path) for path in folder.glob("completions_*.csv")}
    for name, quality in sorted(leave_one_out(data).items()):
        _say(f"{name}, left out: accuracy {quality.accuracy:.3f}, macro F1 {quality.macro_f1:.3f}, n = {quality.n}")
    everything = [row for name in sorted(data) for row in data[name]]
    model = train(everything)
    started = time.process_time()
    quality = assess(everything, model)
    speed = len(everything) / (time.process_time() - started)
    _say(f"all, seen: accuracy {quality.accuracy:.3f}, macro F1 {quality.macro_f1:.3f}; {speed:,.0f} answers/s")
    WEIGHTS.write_text(json.dumps({"bias": model.bias, "weights": model.weights}, indent=0) + "\n", encoding="utf-8")


def _fit(x: Matrix, y: Matrix, importance: Vector, mean: Matrix) -> Matrix:
    # Accelerated gradient descent (Nesterov, 1983); the step is one over the largest curvature.
    pull = np.full((x.shape[1], 1), STRENGTH)
    pull[-1] = 0.01
    weighted = x.T * importance
    step = 1 / (0.5 * float(np.linalg.norm(weighted @ x, 2)) + STRENGTH)
    weights = ahead = mean.copy()
    momentum = 1.0
    for _ in range(ITERATIONS):
        scores = x @ ahead
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        gradient = weighted @ (powers / powers.sum(axis=1, keepdims=True) - y) + pull * (ahead - mean)
        after, faster = ahead - step * gradient, (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / faster * (after - weights)
        weights, momentum = after, faster
    return weights


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
