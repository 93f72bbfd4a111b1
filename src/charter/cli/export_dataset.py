"""``charter export``: a run's data for other tools, with a card."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import AsJson, print_json
from charter.core.errors import DataError


def export_dataset_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, such as outputs/demo.")],
    to: Annotated[Path, typer.Option(help="The folder to make.")],
    format: Annotated[
        str, typer.Option(help="trl and kto: Parquet for TRL; jsonl; or datasets, for load_from_disk.")
    ] = "trl",
    split: Annotated[float, typer.Option(min=0.0, max=0.9, help="The share of prompts for testing.")] = 0.05,
    min_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Leave out labels of which the judge was less sure.")
    ] = 0.0,
    license: Annotated[
        str | None, typer.Option(help="The data's licence, as hubs name it, such as cc-by-4.0; it goes into the card.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write pairs and supervised rows in the forms that TRL and `datasets` read, in train and test, with a card.

    A model is exported by `charter export-model`.
    """
    from charter.data.export import (  # pyarrow and polars are needed by this command only
        CARD,
        FORMATS,
        ExportedTable,
        export_run,
    )
    from charter.data.shards import count_rows
    from charter.report.cards import dataset_card
    from charter.report.collect import collect
    from charter.report.run_tables import check_run

    def write_card(tables: Sequence[ExportedTable]) -> str:
        path = run / "manifest.json"
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"] if path.is_file() else {}
        return dataset_card(collect(run, stages), tables, license)

    # People look for the model here too.
    is_model = any((run / name).is_file() for name in ("config.json", "adapter_config.json"))
    if is_model and not (run / "config.yaml").is_file():
        raise DataError(
            f"run '{run}': is a model, and this exports a run's data. For a model: charter export-model {run} {to}"
        )
    check_run(run)
    made = export_run(run, to, format, write_card, split, min_p)
    if as_json:
        tables = [{"name": t.name, "rows": t.rows, "files": t.files, "left_out": t.left_out} for t in made]
        print_json({"folder": str(to), "tables": tables})
        return
    for table in made:
        rows = " and ".join(f"{n:,} rows to {side}" for side, n in table.rows.items())
        weak = f"; {table.left_out:,} rows of the run left out, under p = {min_p:g}" if table.left_out else ""
        typer.echo(f"{table.name}: {rows}{weak}")
    for layout in FORMATS[format].layouts:
        if layout.name in [table.name for table in made]:
            continue
        source = run / layout.source
        n = count_rows(source) if any(source.glob("*.parquet")) else 0
        why = f"none of the run's {n:,} rows has p = {min_p:g} or more" if n else "the run has no row of it"
        typer.echo(f"{layout.name}: not written, {why}")
    # To stderr and at the end, where it is seen.
    if not (run / "manifest.json").is_file():
        typer.echo(f"Run '{run}' has not finished: this is what it has so far.", err=True)
    typer.echo(f"Wrote {to}. {to / CARD} says how to load it.")
