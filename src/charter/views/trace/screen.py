"""A trace in the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text

from charter.report.terminal import labelled, visible
from charter.views.trace.calls import Call, shared_beginning
from charter.views.trace.traced import Trace


def print_trace(trace: Trace, console: Console) -> None:
    """Print every call of a row, and where the row ended; what stood in an earlier request is not printed again."""
    for place, call in enumerate(trace.calls):
        console.print(*_call(call, trace.calls[:place]), sep="\n")
        console.print()
    for end in trace.ended:
        console.print(*labelled("Ended", Text(visible(_end(end)))), sep="\n")
    console.print(Text(summary(trace)))


def summary(trace: Trace) -> str:
    """In a line: what it took."""
    answers = [call.answer for call in trace.calls if call.answer]
    stored = sum(answer.stored for answer in answers)
    tokens = sum(answer.prompt_tokens for answer in answers), sum(answer.completion_tokens for answer in answers)
    without = len(trace.calls) - len(answers)
    parts = [f"asked {len(answers) - stored}, from the store {stored}", *([f"no answer {without}"] if without else [])]
    return f"{trace.row_id}: {', '.join(parts)}; {tokens[0]:,} tokens of requests, {tokens[1]:,} of answers"


def _call(call: Call, earlier: Sequence[Call]) -> Iterator[RenderableType]:
    yield Rule(Text(f"{call.number} {call.stage}", style="bold"), align="left", style="dim")
    yield Text(" · ".join(_settings(call)), style="dim")
    known, number = shared_beginning(call, earlier)
    if known:
        which = "the first message" if known == 1 else f"the first {known} messages"
        yield Text(f"({which} as in {number})", style="dim")
    for message in call.messages[known:]:
        yield from labelled(message["role"], Text(visible(message["content"])), "bold cyan")
    if call.answer is None:
        yield from labelled("no answer", Text(visible(call.failure)), "bold red")
    else:
        yield from labelled("answer", Text(visible(call.answer.text)), "bold green")
        if call.answer.choice_probs:
            odds = zip(call.sampling.choices, call.answer.choice_probs, strict=True)
            yield Text("  " + " · ".join(f"{choice} {p:.3f}" for choice, p in odds))


def _settings(call: Call) -> Iterator[str]:
    if call.answer is not None:
        yield "from the store" if call.answer.stored else "asked"
        yield f"{call.answer.prompt_tokens} + {call.answer.completion_tokens} tokens"
        if call.answer.finish_reason != "stop":
            yield f"ended by {call.answer.finish_reason}"
    yield f"at most {call.sampling.max_tokens}"
    yield f"temperature {call.sampling.temperature:g}"
    yield f"seed {call.sampling.seed}"


def _end(end: Mapping[str, Any]) -> str:
    if end["as"] == "failed":
        return f"at {end['stage']}: {end['reason']}{': ' + end['detail'] if end['detail'].strip() else ''}"
    p = "" if end["p_chosen"] is None else f"; p(chosen) = {end['p_chosen']:.3f}"
    if end["as"] == "sft":
        return f"in SFT, which learns the {end['source']}{p}"
    return f"as a preference pair ({end['pair_id']}){p}"
