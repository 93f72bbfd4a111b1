"""``charter constitution …``: tools for people who write constitutions."""

import asyncio
import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import AsJson, print_json, print_progress
from charter.cli.preview import preview_command
from charter.config import load_config
from charter.constitution.diff import FieldChange, diff, load_at
from charter.constitution.exchange import FORMATS, Format, export_json, import_json
from charter.constitution.lint import ContextWindow, counts, lint
from charter.constitution.parse import load_constitution
from charter.constitution.show import show_constitution
from charter.constitution.write import write_constitution
from charter.core.errors import ConfigError, ConstitutionError

app = typer.Typer(no_args_is_help=True, help="Write, check, compare and convert constitutions.")

File = Annotated[Path, typer.Argument(help="A constitution, such as constitutions/harmless.md.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of the screen.")]
Templates = Annotated[
    Path | None, typer.Option(help="A folder whose templates replace the shipped ones of the same name.")
]


@app.command("lint")
def lint_command(
    paths: Annotated[list[Path], typer.Argument(help="Constitutions to check.")],
    context: Annotated[
        int | None, typer.Option(min=1, help="The model's context in tokens, to check that requests fit.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A model folder, to count tokens with its tokenizer.")] = None,
    templates: Templates = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check constitutions. Exit status: 0 clean, 1 mistakes found."""
    limit = _context(context, model)
    found = [problem for path in paths for problem in lint(path, limit, templates)]
    total = counts(found)
    if as_json:
        print_json({"problems": [p._asdict() for p in found], "counts": total})
    else:
        for problem in found:
            typer.echo(f"{problem} [{problem.severity}: {problem.code}]")
        names = ", ".join(map(str, paths))
        # To stderr after mistakes, so that stdout holds one mistake per line for other tools.
        typer.echo(f"{names}: {total['error']} errors, {total['warning']} warnings.", err=bool(found))
    raise typer.Exit(1 if total["error"] or (strict and found) else 0)


@app.command("notify")
def notify_command(
    paths: Annotated[list[Path], typer.Argument(help="Constitutions, such as constitutions/harmless.md.")],
) -> None:
    """Tell Prefect that constitutions changed, for git hooks and CI; an automation starts `align`.

    Exit status: 0 sent, 1 sent with the mistakes of a constitution, 2 no server took the event.
    """
    from flows.notify import look, tell  # Prefect takes seconds to import

    news = [look(path.resolve()) for path in paths]
    asyncio.run(tell(news))
    typer.echo("\n".join(map(str, news)))
    raise typer.Exit(1 if any(one.mistakes for one in news) else 0)


@app.command("watch")
def watch_command(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="All Markdown files in it are watched.")],
) -> None:
    """Tell Prefect whenever a constitution is saved with different words. `charter ui start` starts this."""
    from flows.watch import watch

    asyncio.run(watch(folder))


@app.command("show")
def show_command(
    path: File,
    principle: Annotated[str | None, typer.Option(help="Show only the principle with this id.")] = None,
    templates: Templates = None,
    as_json: AsJson = False,
) -> None:
    """Show principles and the exact requests a model receives for them."""
    shown = show_constitution(load_constitution(path), templates)
    if principle is not None:
        # Before filtering, so that the error can list them all.
        ids = [p["id"] for p in shown["principles"]]
        shown["principles"] = [p for p in shown["principles"] if p["id"] == principle]
        if not shown["principles"]:
            raise ConfigError(f"--principle '{principle}': no such id in {path}. Use one of: {', '.join(ids)}.")
    if as_json:
        print_json(shown)
        return
    typer.echo(f"{shown['name']} {shown['version']} ({shown['hash']}): {shown['description']}")
    for one in shown["principles"]:
        tags = " ".join(f".{tag}" for tag in one["tags"])
        typer.secho(f"\n{one['title']}", bold=True)
        typer.echo(f"#{one['id']} {tags} hash {one['hash']}, {one['share_of_draws']:.1%} of draws, line {one['line']}")
        for name, request in one["requests"].items():
            typer.secho(f"\n  {name} request", underline=True)
            typer.echo("\n".join(f"  | {line}" for line in request.splitlines()))


@app.command("diff")
def diff_command(
    old: Annotated[str, typer.Argument(help="A file, or REVISION:path from git.")],
    new: Annotated[str, typer.Argument(help="A file, or REVISION:path from git.")],
    run: Annotated[
        Path | None, typer.Option(help="A run's folder, to count what it would have to compute again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two constitutions: principles added, removed, reworded and re-weighted, word by word."""
    constitution = load_at(new)
    compared = diff(load_at(old), constitution)
    costs = []
    if run:
        from charter.views.edit_cost import edit_cost_of_run  # judges are needed by this option only

        # The most that it can be, and what is likely.
        costs = [edit_cost_of_run(run, constitution, likely) for likely in (False, True)]
    if as_json:
        counts = dict(zip(("recount", "recount_likely"), costs, strict=False))
        extra = {name: {**cost._asdict(), "completions": cost.completions} for name, cost in counts.items()}
        print_json({**asdict(compared), "same": compared.same, **extra})
        return
    typer.echo(f"{compared.old} ({compared.old_hash}) -> {compared.new} ({compared.new_hash})")
    for change in compared.principles:
        former = f" (was #{change.former_id})" if change.former_id else ""
        typer.secho(f"\n{change.change}: {change.title} #{change.id}{former}", bold=True)
        _print_fields(change.fields)
    for field in compared.shared:
        typer.secho(f"\nchanged: {field.field} of the whole constitution", bold=True)
        _print_fields((field,))
    if compared.reordered:
        typer.echo("\nThe principles are in a different order, which changes nothing.")
    if compared.same:
        typer.echo("\nBoth say the same to the model: nothing would be computed again.")
    if costs:
        most, likely = costs
        typer.echo(
            f"\nOf {most.rows} rows {most.rows_changed} change: at most {most.completions} completions again "
            f"({most.critiques} critiques, {most.revisions} revisions, {most.judgements} judgements), no first "
            f"response.\nAbout {likely.completions}, if critiques find what they found before "
            f"({likely.critiques} critiques, {likely.revisions} revisions, {likely.judgements} judgements)."
        )
        if most.uncounted:
            typer.echo(
                f"The judgements are those of the strategy revision. The run's pairs of {', '.join(most.uncounted)} "
                "are judged as well, and not counted here."
            )


@app.command("blame")
def blame_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, finished or not, such as outputs/demo.")],
    as_json: AsJson = False,
) -> None:
    """Say what each principle did in a run: draws, flags, revisions, labels and failures."""
    from charter.runs.blame import blame_run, blame_text  # polars is needed by this command only

    found = blame_run(run)
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(blame_text(found))


app.command("preview")(preview_command)


@app.command("scenarios")
def scenarios_command(
    path: File,
    config: Annotated[
        Path | None, typer.Option(help="A run's YAML: the model that grades its evaluation writes.")
    ] = None,
    per_situation: Annotated[
        int, typer.Option("--per-situation", "-n", min=1, help="Scenarios of each principle and situation.")
    ] = 10,
    output: Output = None,
) -> None:
    """Have a model write held-out scenarios for each principle, to evaluate adherence. People should read them.

    They go to the file beside the constitution that `charter align` and `charter evaluate` read.
    """
    from charter.evaluation.adherence.scenarios import scenario_path
    from charter.evaluation.adherence.writing import to_jsonl
    from charter.views.scenarios import scenarios_for

    output = output or scenario_path(path)
    if output.exists():  # before the model is started; people may have edited it
        raise ConfigError(f"'{output}': there is a file already. Name another with --output, or move it away.")
    constitution = load_constitution(path)
    written = scenarios_for(constitution, load_config(config), per_situation, print_progress)
    for principle in constitution.principles:
        kept = sum(row["principle"] == principle.id for row in written.rows)
        dropped = ", ".join(f"{reason} {n}" for reason, n in written.dropped[principle.id].items())
        typer.echo(f"{principle.title}: {kept} scenarios{f'; dropped: {dropped}' if dropped else ''}")
    _write(to_jsonl(written.rows), output)


@app.command("import")
def import_command(
    path: Annotated[Path, typer.Argument(help="JSON of the Constitutional AI paper, of llm-swarm, or a plain list.")],
    output: Output = None,
    name: Annotated[str | None, typer.Option(help="The constitution's name; the file's name if not given.")] = None,
) -> None:
    """Make a constitution out of JSON."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConstitutionError(f"'{path}': cannot be read: {error}. Name a JSON file.") from error
    _write(write_constitution(import_json(text, name or path.stem)), output)


@app.command("export")
def export_constitution_command(
    path: File,
    format: Annotated[
        str, typer.Option(help=f"One of: {', '.join(FORMATS)}; or markdown, with all it extends.")
    ] = "charter",
    output: Output = None,
) -> None:
    """Write a constitution as JSON."""
    constitution = load_constitution(path)
    known: dict[str, Format] = {name: name for name in FORMATS}
    if format != "markdown" and format not in known:
        raise ConfigError(f"--format '{format}': not known. Use one of: {', '.join(FORMATS)}, markdown.")
    _write(
        write_constitution(constitution) if format == "markdown" else export_json(constitution, known[format]), output
    )


@app.command("init")
def init_constitution_command(
    path: Annotated[Path, typer.Argument(help="The file to make.")] = Path("constitution.md"),
) -> None:
    """Make a commented constitution to start from."""
    _write((files("charter.constitution") / "starter.md").read_text(encoding="utf-8"), path)


def _context(tokens: int | None, model: Path | None) -> ContextWindow | None:
    if model is None:
        return ContextWindow(tokens) if tokens else None
    if not (model / "tokenizer.json").is_file() or not (model / "config.json").is_file():
        raise ConfigError(f"--model '{model}': no folder with config.json and tokenizer.json. Name a model folder.")
    from tokenizers import Tokenizer  # needed by this option only

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    longest = json.loads((model / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    # Some models have no limit in their config, or call it something else.
    if tokens is None and not isinstance(longest, int):
        raise ConfigError(f"--model '{model}': config.json has no max_position_embeddings. Give --context.")
    return ContextWindow(tokens or longest, lambda text: len(tokenizer.encode(text).ids))


def _print_fields(fields: tuple[FieldChange, ...]) -> None:
    for field in fields:
        typer.echo(f"  {field.field}: ", nl=False)
        for change, words in field.pieces:
            # Marks besides colours: a diff is also read in files, and by people who cannot tell red from green.
            marks = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}[change]
            colour = {"same": None, "removed": typer.colors.RED, "added": typer.colors.GREEN}[change]
            body, space = words.rstrip(), words[len(words.rstrip()) :]
            typer.secho(marks.format(body) + space.replace("\n", "\n    "), fg=colour, nl=False)
        typer.echo()


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    # Never over a file: it may be a constitution that someone wrote.
    if output.exists():
        raise ConfigError(f"'{output}': there is a file already. Name another with --output, or move it away.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"'{output}': cannot be written: {error.strerror}. Name another file.") from error
    typer.echo(f"Wrote {output}.")
