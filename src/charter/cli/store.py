"""``charter store``: look after the store of completions."""

from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import AsJson, print_json
from charter.core.tables import TextTable

app = typer.Typer(no_args_is_help=True, help="Look after the store of completions: what it holds, drop, export.")

_DEFAULT = "outputs/completions.sqlite"
StoreArgument = Annotated[
    str, typer.Argument(metavar="STORE", help="A file, or postgresql://USER@HOST/DATABASE; as 'store' of a config.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(help="Only of this model: its identity, its beginning, or 'unknown' (kept by an earlier version)."),
]


@app.command("stats")
def stats_command(store: StoreArgument = _DEFAULT, as_json: AsJson = False) -> None:
    """Say how much is in the store, how large it is, and which models wrote it when."""
    from charter.inference.store.opening import open_database  # databases are needed by these commands only
    from charter.inference.store.upkeep import holdings

    with closing(open_database(store)) as database:
        held = holdings(database)
    if as_json:
        whole = {"bytes_per_entry": held.bytes_per_entry, "oldest": held.oldest, "newest": held.newest}
        print_json({**held._asdict(), **whole, "models": [one._asdict() for one in held.models]})
        return
    per_entry = f", {held.bytes_per_entry:,.0f} bytes per entry" if held.entries else ""
    typer.echo(f"{held.store}: {held.entries:,} entries, {_size(held.bytes)}{per_entry}")
    rows = [
        (f"{one.entries:,}", _size(one.bytes), _minute(one.oldest), _minute(one.newest), one.model)
        for one in held.models
    ]
    if rows:
        # Numbers and times to the right; the model, which may be long, last.
        typer.echo(TextTable(("entries", "values", "oldest (UTC)", "newest (UTC)", "model"), rows, left=(4,)).text())


@app.command("vacuum")
def vacuum_command(
    store: StoreArgument = _DEFAULT,
    model: ModelOption = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0, help="Only what was kept this many days ago or earlier.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this, say only what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop damaged entries, and those that --model and --older-than name together; then give their room back.

    What is dropped will be asked again when it is wanted again. Runs may go on meanwhile; their writes wait.
    """
    from charter.inference.store.opening import open_database
    from charter.inference.store.upkeep import choose_entries, vacuum

    with closing(open_database(store)) as database:
        # Without --yes only counted: what is deleted costs GPU time to make again.
        done = vacuum(database, choose_entries(database, model, older_than), yes)
    if as_json:
        print_json(done._asdict())
        return
    typer.echo(f"{done.store}: {done.entries:,} entries, {_size(done.bytes_before)}")
    verb = "dropped" if yes else "would drop"
    typer.echo(f"{verb} {done.corrupted:,} damaged, and {done.chosen:,} by --model and --older-than")
    if done.bytes_after is None:
        typer.echo("Nothing was changed. The same with --yes drops them and gives the room of all gaps back.")
    else:
        typer.echo(f"now {_size(done.bytes_after)}")


@app.command("export")
def export_store_command(
    out: Annotated[Path, typer.Argument(help="The file to write; it ends in .jsonl or .parquet.")],
    store: StoreArgument = _DEFAULT,
    model: ModelOption = None,
    as_json: AsJson = False,
) -> None:
    """Write the completions as a table. Requests are not in it: a store knows them by their hash."""
    from charter.inference.store.exporting import export
    from charter.inference.store.opening import open_database
    from charter.inference.store.upkeep import choose_entries

    with closing(open_database(store)) as database:
        made = export(database, out, choose_entries(database, model) if model else None)
    # Each by its key, so that in = out + damaged can be checked.
    for key in made.damaged:
        typer.echo(f"left out: entry {key} is damaged", err=True)
    if as_json:
        print_json(made._asdict())
    else:
        typer.echo(f"Wrote {made.entries:,} completions of {made.store} to {made.file}.")


def _size(count: int) -> str:
    amount, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        # Powers of 1000, as disks are sold.
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"


def _minute(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M") if time else "-"
