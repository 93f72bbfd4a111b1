"""``charter explain``: what became of a row, and why its label is what it is."""

from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import print_json
from charter.core.errors import ConfigError


def explain_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, finished or not, such as outputs/demo.")],
    row: Annotated[str | None, typer.Argument(help="A row's id, or enough of its beginning.")] = None,
    pick: Annotated[
        str | None, typer.Option(help="Instead of ROW: uncertain, random, failed, or a reason such as tie.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many to pick.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the random draw.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for machines: an object, or with --pick a list.")
    ] = False,
) -> None:
    """Tell what became of a row: prompt, answers, critiques, where it ended, and what moved its label."""
    from charter.core.text import plain
    from charter.report.run_tables import check_run
    from charter.report.terminal import open_console
    from charter.views.explain.rows import find_row, pick_rows  # polars is needed by this command only
    from charter.views.explain.story import read_story
    from charter.views.explain.text import print_story

    if (row is None) == (pick is None):
        raise ConfigError(f"explain '{run}': wants either a ROW or --pick. Write charter explain {run} --pick random.")
    check_run(run)
    # An id may be shortened, as in git.
    ids = pick_rows(run, pick, n, seed) if pick is not None else [find_row(run, row or "")]
    stories = [read_story(run, id) for id in ids]
    if as_json:
        values = [plain(story.to_dict()) for story in stories]
        print_json(values if pick is not None else values[0])
        return
    console = open_console()
    for number, story in enumerate(stories):
        if number:
            console.print()
        print_story(story, console)
