"""A forecast in the terminal."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from charter.views.estimate.forecast import Expected, Forecast

_COLUMNS = ("calls", "stored", "to ask", "tokens in", "tokens out", "at most")


def print_forecast(forecast: Forecast, console: Console) -> None:
    """Print a table of the stages, and under it what the numbers rest on."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("stage", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for one in forecast.stages:
        table.add_row(*_cells(one))
    table.add_section()
    table.add_row(*_cells(forecast.total), style="bold")
    console.print(table)
    for line in _notes(forecast):
        console.print(Text(line))


def _cells(one: Expected) -> list[str]:
    numbers = one.calls, one.stored, one.to_ask, one.prompt_tokens, one.completion_tokens
    return [one.stage, *(f"{number:,}" for number in numbers), "?" if one.seconds is None else duration(one.seconds)]


def duration(seconds: float) -> str:
    """In the two largest units, such as ``3 h 12 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _notes(forecast: Forecast) -> Iterator[str]:
    like = "" if forecast.looked_up == forecast.rows else f", of which {forecast.looked_up:,} were looked up"
    yield f"{forecast.rows:,} rows{like}; of {forecast.complete:,} the store has everything."
    yield f"{forecast.probed:,} were sent through the chain now; their answers to {forecast.asked:,} calls are kept."
    if forecast.total.to_ask and forecast.probed:
        yield f"The time at most is that of {forecast.probed:,} rows at once; a run has more under way and is faster."
    models = 2 + forecast.rounds  # the base, SFT's, and that of each round
    yield (
        f"Not in it: training, and for the flow align {forecast.held_out:,} held-out requests, asked of {models} "
        "models and graded."
    )
    if forecast.benchmarks:
        told = [f"{name} ({'?' if n is None else f'{n:,}'})" for name, n in forecast.benchmarks.items()]
        yield f"Nor the samples of benchmarks, asked of each of these models: {', '.join(told)}."
    if forecast.rounds > 1:
        yield (
            f"Nor rounds 2 to {forecast.rounds}: each asks about as much again for the prompts that make pairs, "
            "of models that are yet to be trained."
        )
