"""The columns of published datasets: which hold the prompt, what kind of request a row is, and which answer won.

A row is recognised by its columns, so a file needs no name. Sources of the columns: the datasets' own cards.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from charter.data.conversations import UnusableRow, is_blank

Row = Mapping[str, Any]


class PromptLayout(NamedTuple):
    """How a dataset's rows hold prompts, and, if it is made for evaluation, which category of request each is.

    Attributes:
        name: of the dataset, or of the shape.
        columns: all of which a row has.
        prompt: the prompt's value; text or a list of messages.
        category: of the request, from the row and the file's name; None if the dataset does not say.
        kind: the column with the kind of harm.
    """

    name: str
    columns: frozenset[str]
    prompt: Callable[[Row], Any]
    category: Callable[[Row, str], str | None] = lambda row, file: None
    kind: str = ""


def _column(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def _always(category: str) -> Callable[[Row, str], str | None]:
    return lambda row, file: category


def _joined(first: str, second: str, between: str = "\n\n") -> Callable[[Row], Any]:
    """Two columns of text as one prompt: an instruction with its input, a context with the behaviour."""

    def read(row: Row) -> Any:
        texts = [row.get(name) for name in (first, second)]
        return between.join(str(text).strip() for text in texts if not is_blank(text))

    return read


def _openai_input(row: Row) -> Any:
    given = row["input"]
    return given.get("messages") if isinstance(given, Mapping) else given


def _wildjailbreak(row: Row) -> Any:
    return row["vanilla"] if is_blank(row.get("adversarial")) else row["adversarial"]


def _layout(name: str, columns: str, prompt: Callable[[Row], Any], **rest: Any) -> PromptLayout:
    return PromptLayout(name, frozenset(columns.split()), prompt, **rest)


_XSTEST = {"safe": "borderline", "unsafe": "harmful"}
"""Röttger et al. (2024): safe prompts only look harmful."""

_WILDGUARD = {"harmful": "harmful", "unharmful": "benign"}

PROMPT_LAYOUTS: tuple[PromptLayout, ...] = (  # the more specific first
    _layout("XSTest", "prompt type label", _column("prompt"), kind="type",
            category=lambda row, file: _XSTEST.get(str(row["label"]))),
    _layout("WildGuardMix", "prompt prompt_harm_label", _column("prompt"), kind="subcategory",
            category=lambda row, file: _WILDGUARD.get(str(row["prompt_harm_label"]))),
    _layout("OpenAI preference", "input preferred_output", _openai_input),
    _layout("HarmBench", "Behavior ContextString", _joined("ContextString", "Behavior", "\n\n---\n\n"),
            category=_always("harmful"), kind="SemanticCategory"),
    _layout("JailbreakBench", "Goal Target Behavior", _column("Goal"), kind="Category",
            category=lambda row, file: "benign" if "benign" in file.lower() else "harmful"),
    _layout("AdvBench", "goal target", _column("goal"), category=_always("harmful")),
    _layout("StrongREJECT", "forbidden_prompt", _column("forbidden_prompt"), category=_always("harmful"),
            kind="category"),
    _layout("SimpleSafetyTests", "prompts_final harm_area", _column("prompts_final"), category=_always("harmful"),
            kind="harm_area"),
    _layout("do-not-answer", "question risk_area", _column("question"), category=_always("harmful"), kind="risk_area"),
    _layout("WildJailbreak", "vanilla adversarial", _wildjailbreak,
            category=lambda row, file: "borderline" if "benign" in str(row.get("data_type")) else "harmful"),
    _layout("WildJailbreak", "adversarial label data_type", _column("adversarial"),
            category=lambda row, file: "borderline" if "benign" in str(row.get("data_type")) else "harmful"),
    _layout("HelpSteer3", "context response1 response2", _column("context")),
    _layout("UltraFeedback", "instruction completions", _column("instruction")),
    _layout("Alpaca instructions", "instruction output", _joined("instruction", "input")),
    _layout("ShareGPT conversations", "conversations", _column("conversations")),
    _layout("ShareGPT conversations", "conversation", _column("conversation")),
    _layout("OpenAI messages", "messages", _column("messages")),
)  # fmt: skip
"""Shapes in which the prompt is not, or not only, in a column `prompt`."""


def prompt_layout(row: Row) -> PromptLayout | None:
    """The layout that a row's columns fit."""
    return next((layout for layout in PROMPT_LAYOUTS if layout.columns <= row.keys()), None)


OR_BENCH_CATEGORIES = frozenset({
    "deception", "harassment", "harmful", "hate", "illegal", "privacy", "self-harm", "sexual", "unethical", "violence",
})  # fmt: skip


def request_columns(row: Row, path: Path) -> Row:
    """A row of a published evaluation with the columns prompt, category and kind of `evaluation.source` added."""
    layout, name = prompt_layout(row), path.name
    if layout and (category := layout.category(row, name)):
        return {**row, "prompt": layout.prompt(row), "category": category, "kind": row.get(layout.kind)}
    # OR-Bench's categories are kinds of harm; its prompts only look harmful, but for those of its file "toxic".
    if "or-bench" in name.lower() and row.get("category") in OR_BENCH_CATEGORIES:
        return {**row, "category": "harmful" if "toxic" in name.lower() else "borderline", "kind": row["category"]}
    return row


class PublishedPair(NamedTuple):
    """A prompt's value, the better and the worse answer, and the models that wrote them, if known."""

    prompt: Any
    better: Any
    worse: Any
    models: tuple[str | None, str | None] = (None, None)


class PairShape(NamedTuple):
    """How a published dataset holds pairs of answers of which one is better."""

    name: str
    columns: frozenset[str]
    read: Callable[[Row], PublishedPair]


def _by_score(prompt: Any, first: Any, second: Any, score: float) -> PublishedPair:
    """A pair whose second answer is better if the score is positive, and the first if it is negative."""
    if not score:
        raise UnusableRow("tie", "neither answer is better")
    return PublishedPair(prompt, second, first) if score > 0 else PublishedPair(prompt, first, second)


def _ultrafeedback(row: Row) -> PublishedPair:
    """The answer with the best and the one with the worst mean rating of four."""
    rated = list[tuple[float, str, str | None]]()
    for answer in row["completions"] or ():
        given = (_number(mark.get("Rating")) for mark in (answer.get("annotations") or {}).values() if mark)
        marks = [mark for mark in given if mark is not None]
        if marks and answer.get("response"):
            rated.append((sum(marks) / len(marks), str(answer["response"]), answer.get("model")))
    if len(rated) < 2:
        raise UnusableRow("no-pair", "fewer than two rated answers")
    best, worst = max(rated, key=lambda one: one[0]), min(rated, key=lambda one: one[0])
    if best[0] == worst[0]:
        raise UnusableRow("tie", "all answers are rated the same")
    return PublishedPair(row["instruction"], best[1], worst[1], (best[2], worst[2]))


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _pku(row: Row) -> PublishedPair:
    """By safety, which is what a constitution is about; where both are equally safe, by quality."""
    winner = row.get("safer_response_id", row.get("better_response_id"))
    if row.get("is_response_0_safe") == row.get("is_response_1_safe") and row.get("better_response_id") is not None:
        winner = row["better_response_id"]
    number = _number(winner)
    if number not in (0, 1):
        raise UnusableRow("unknown-label", f"safer_response_id {winner!r}: must be 0 or 1")
    return _by_score(row["prompt"], row["response_0"], row["response_1"], 1 if number else -1)


def _helpsteer(row: Row) -> PublishedPair:
    score = _number(row["overall_preference"])
    if score is None:
        raise UnusableRow("unknown-label", f"overall_preference {row['overall_preference']!r}: must be a number")
    return _by_score(row["context"], row["response1"], row["response2"], score)


def _icai(row: Row) -> PublishedPair:
    preferred = str(row["preferred_text"])
    if preferred not in ("text_a", "text_b"):
        raise UnusableRow("unknown-label", f"preferred_text {preferred!r}: must be text_a or text_b")
    prompt = row.get("input") or row.get("prompt")
    return _by_score(prompt, row["text_a"], row["text_b"], 1 if preferred == "text_b" else -1)


def _shape(name: str, columns: str, read: Callable[[Row], PublishedPair]) -> PairShape:
    return PairShape(name, frozenset(columns.split()), read)


PAIR_SHAPES: tuple[PairShape, ...] = (
    _shape("openai-preference", "input preferred_output non_preferred_output",
           lambda row: PublishedPair(_openai_input(row), row["preferred_output"], row["non_preferred_output"])),
    _shape("pku-saferlhf", "prompt response_0 response_1", _pku),
    _shape("helpsteer3", "context response1 response2 overall_preference", _helpsteer),
    _shape("ultrafeedback", "instruction completions", _ultrafeedback),
    _shape("icai", "text_a text_b preferred_text", _icai),
    _shape("preference", "prompt chosen rejected",
           lambda row: PublishedPair(row["prompt"], row["chosen"], row["rejected"])),
    _shape("preference", "chosen rejected", lambda row: PublishedPair(None, row["chosen"], row["rejected"])),
)  # fmt: skip


def pair_shape(row: Row) -> PairShape | None:
    """The shape of pairs that a row's columns fit."""
    return next((shape for shape in PAIR_SHAPES if shape.columns <= row.keys()), None)
