"""``charter align``, ``charter dataset`` and the other flows, each as ``python -m flows.NAME`` runs it."""

from importlib import import_module
from typing import NamedTuple

import typer


class FlowEntry(NamedTuple):
    """Where a flow is, and what it does in one line."""

    module: str
    help: str


FLOWS = {
    "align": FlowEntry("align", "Make a dataset, train on it, evaluate, and give a verdict."),
    "dataset": FlowEntry("dataset", "Make revisions and preference pairs under a constitution; train nothing."),
    "train": FlowEntry("train", "Train on a finished dataset, and give a verdict."),
    "evaluate": FlowEntry("evaluate", "Evaluate a model or an endpoint; train nothing."),
    "audit": FlowEntry("audit", "Measure the judge of a config on labelled pairs."),
    "redteam": FlowEntry("redteam", "Search for requests on which a model fails."),
    "monitor": FlowEntry("monitor", "Probe a served model for drift from the accepted run."),
    "preview": FlowEntry("constitution_preview", "Answer and revise a few prompts under a constitution."),
}


def flow_command(context: typer.Context) -> None:
    """Hand all arguments to the flow's own command."""
    name = context.info_name or ""
    # Prefect takes seconds to import, and only this needs it.
    import_module(f"flows.{FLOWS[name].module}").command.main(context.args, context.command_path)
