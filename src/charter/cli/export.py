"""``charter export-model``: a model of a run, or an adapter, as a folder that vLLM serves."""

from pathlib import Path
from typing import Annotated

import typer

from charter.cli.output import AsJson, print_json, print_progress


def export_model_command(
    model: Annotated[
        Path,
        typer.Argument(help="A run, such as outputs/demo; one of its models, such as outputs/demo/dpo; or an adapter."),
    ],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Serve it, and compare what it says with what its source says.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Write a model into a separate folder: weights, with a LoRA adapter merged, tokenizer, chat template and card.

    Of a run it is the model that its verdict is on. The folder appears when vLLM has served it and its greedy answers
    are those of the source in transformers. A model that is not go says so in its card, and cannot have the name of an
    accepted one.
    """
    from charter.publishing.export import CARD, export_model  # the report's packages are needed
    from charter.report.terminal import visible

    made = export_model(model, out, check, print_progress)
    if as_json:
        summary = {
            "folder": str(out),
            "source": str(made.source.folder),
            "merged_into": made.source.base,
            "verdict": made.status.verdict,
            "compared": made.comparison._asdict() if made.comparison else None,
        }
        print_json(summary)
        return
    if made.status.warning:
        # `visible`: the reason comes from files of a run, which may hold control characters.
        typer.echo(visible(f"Warning: {made.status.warning} {CARD} says so."), err=True)
    typer.echo(f"Wrote {out}: {made.how}")
    typer.echo(f"Checked: {made.comparison}" if made.comparison else "Not checked.")
    typer.echo(f"To serve it: vllm serve {out}")
