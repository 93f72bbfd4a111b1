"""``charter compare``: two runs or more beside each other."""

from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import AsJson, print_json


def compare_command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, such as outputs/demo; all against the first.")],
    model: Annotated[
        str | None, typer.Option(help="Which model of each run, such as sft; the one that was judged if not given.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=0, help="How many prompts that changed sides to show.")] = 5,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file as well.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare runs: constitutions, settings, measures with intervals and paired tests, prompts, and cost."""
    from charter.core.text import plain
    from charter.views.compare.comparison import compare_folders  # polars is needed by this command only
    from charter.views.compare.text import comparison_text
    from charter.views.preview.page import check_page, write_page

    if html is not None:
        check_page(html)
    found = compare_folders(runs, model)
    if html is not None:
        from charter.views.compare.page import render_comparison

        write_page(html, render_comparison(found))
    if as_json:
        print_json(plain(found.to_dict()))
        return
    typer.echo(comparison_text(found, n))
    if html is not None:
        typer.echo(f"\nWrote {html}.")
