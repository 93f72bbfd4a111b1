"""``charter promote``, ``charter rollback`` and ``charter accepted``: which model stands, and since when."""

from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import AsJson, print_json

Outputs = Annotated[Path, typer.Argument(help="The folder of the runs.")]
By = Annotated[str | None, typer.Option(help="Who decides it; the user's name on this machine if not given.")]


def promote_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, such as outputs/demo, or the copy of an accepted one.")],
    force: Annotated[
        bool, typer.Option("--force", help="Accept it though its verdict is no-go. Needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; it is written down.")] = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Accept a run: copy its model under a permanent name, and record it in accepted.json beside the runs.

    Refused when the verdict is no-go, formed anew against the model that is accepted now, and when anything has changed
    since the run. A model that is forced lies under forced/, never under accepted/.
    """
    from charter.report.run_tables import check_run
    from charter.report.terminal import visible
    from charter.runs.registry.promotion import folder_of_runs, promote, user_name  # all of evaluation is needed

    check_run(run)
    made = promote(run, by or user_name(), force, reason)
    folder = folder_of_runs(run) / made.folder
    if as_json:
        print_json(made.model_dump() | {"folder": str(folder)})
        return
    how = "Accepted" if made.verdict == "go" else "Accepted against its verdict, no-go,"
    typer.echo(f"{how} {made.id}, made under {visible(made.constitution)}. {made.verdict_reason}")
    typer.echo(f"Copied to {folder}; to serve it: vllm serve {folder / made.model}")


def rollback_command(
    outputs: Outputs = Path("outputs"),
    reason: Annotated[str, typer.Option(help="Why; it is written down.")] = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Take back the accepted run: the one before it stands again. Nothing is deleted.

    Warns when the copy of that one is gone or was changed.
    """
    from charter.runs.registry.promotion import integrity_problem, rollback, user_name

    after = rollback(outputs, by or user_name(), reason)
    now = after.accepted
    # Only a warning: the rollback has to succeed even if the earlier copy is damaged.
    if warning := integrity_problem(after):
        typer.echo(f"Warning: {warning}", err=True)
    if as_json:
        print_json({"accepted": now.model_dump() if now else None})
        return
    typer.echo(f"Took back {after.history[-1].run.id}. Accepted is {now.id if now else 'nothing'}.")


def accepted_command(
    outputs: Outputs = Path("outputs"),
    path: Annotated[bool, typer.Option("--path", help="Print only the folder of the accepted model.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show which run is accepted, and everything that was accepted or taken back. Exit status 1 when nothing is."""
    from charter.report.terminal import visible
    from charter.runs.registry.record import accepted_model, read_registry

    registry = read_registry(outputs)
    now = registry.accepted
    if as_json:
        events = [event.model_dump() for event in registry.history]
        print_json({"accepted": now.model_dump() if now else None, "history": events})
    # For scripts: vllm serve $(charter accepted --path).
    elif path and now:
        typer.echo(accepted_model(registry, now))
    elif now:
        typer.echo(f"{now.id}: {registry.folder(now) / now.model}, made under {visible(now.constitution)}")
    else:
        typer.echo(f"No run in '{outputs}' is accepted. charter promote RUN accepts one.", err=True)
    if not path and not as_json:
        for event in registry.history:
            forced = ", forced" if event.action == "promote" and event.run.verdict != "go" else ""
            why = f": {event.reason}" if event.reason else ""
            typer.echo(f"  {event.at}  {event.action:<8}  {event.run.id}  by {visible(event.by + forced + why)}")
    if not now:
        raise typer.Exit(1)
