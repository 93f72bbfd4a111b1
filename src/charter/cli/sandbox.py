"""``charter sandbox``: train the miniature model, check it, look at its world."""

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from charter.config import Serving
from charter.core.formatting import interval, percent
from charter.inference.engine import EngineSpec
from charter.inference.server.process import serve
from charter.inference.session import open_engine
from charter.sandbox import MODEL
from charter.sandbox.check import Skill, check_skills
from charter.sandbox.world import kinds, pipeline_prompts

app = typer.Typer(help="The miniature world and its shipped model.", no_args_is_help=True)


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="the folder for checkpoints and, at the end, OUT/model")],
    steps: Annotated[int | None, typer.Option(min=1, help="optimiser steps, if not as the recipe has it")] = None,
    seed: Annotated[int, typer.Option(help="of the weights and of every lesson")] = 0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="needs a C++ compiler")] = True,
) -> None:
    """Train the model from scratch; the same command again continues a run that was stopped."""
    from charter.sandbox.train import Recipe, train_sandbox  # torch takes seconds to import, and only this needs it

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(seed=seed, compile=compiled)
    model = train_sandbox(out, recipe if steps is None else recipe._replace(steps=steps))
    typer.echo(f"Trained: {model}\nLook at it with: charter sandbox check {model}")


@app.command()
def check(
    model: Annotated[Path, typer.Argument(help="a folder made by `charter sandbox train`")] = MODEL,
    n: Annotated[int, typer.Option(min=1, help="held-out requests per skill")] = 400,
) -> None:
    """Measure every skill on held-out requests, on vLLM; exit status 1 when one falls short."""
    with tempfile.TemporaryDirectory() as folder:
        skills = asyncio.run(_check(model, n, Path(folder)))
    typer.echo(table(skills))
    if not all(skill.passed for skill in skills):
        raise typer.Exit(1)


@app.command()
def prompts(
    n: Annotated[int, typer.Option(min=1, help="how many")] = 20,
    seed: Annotated[int, typer.Option(help="of the draw")] = 0,
) -> None:
    """Print some of the requests that a pipeline gets, with what kind they are."""
    typer.echo(f"kinds of harm: {', '.join(kinds())}\n")
    for request in pipeline_prompts(n, seed):
        typer.echo(f"{request.category:<12} {request.kind or '-':<22} {request.text}")


def table(skills: list[Skill]) -> str:
    """The skills as lines of text."""
    lines = [f"{'skill':<42} {'right':>7}  {'95 % interval':<18} {'n':>5}  wanted"]
    for skill in skills:
        rate = skill.rate.to_dict()
        mark = "ok" if skill.passed else "FALLS SHORT"
        lines.append(
            f"{skill.name:<42} {percent(skill.rate.value):>7}  {interval(rate):<18} {skill.rate.n:>5}"
            f"  {percent(skill.wanted, 0)} {mark}"
        )
    return "\n".join(lines)


async def _check(model: Path, n: int, folder: Path) -> list[Skill]:
    with serve(model, Serving(), folder / "vllm.log", "sandbox", typer.echo) as served:
        async with open_engine(EngineSpec.of(served, str(folder / "completions.sqlite"))) as engine:
            return await check_skills(engine.ask, n)
