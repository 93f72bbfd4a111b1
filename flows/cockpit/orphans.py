"""Runs whose process is gone, as after a power cut: the server does not know, and they would hold the GPU's queue."""

from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from flows.cockpit.settings import POOL, Cockpit

_AT_WORK = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_SIGN = b"PREFECT__FLOW_RUN_ID="
_ENGINE = b"prefect.engine"
_MESSAGE = "Its process exited unexpectedly. Start it again: what it had finished is kept."


async def end_orphans(cockpit: Cockpit) -> list[str]:
    """Mark runs of the pool as crashed that have no process on this machine, the only one with workers; their names.

    To be called while no worker is at work, which may be about to start one.
    """
    alive = _alive()
    at_work = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_AT_WORK)))
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    with cockpit.connected():
        async with get_client() as client:
            runs = await client.read_flow_runs(flow_run_filter=at_work, work_pool_filter=pool)
            gone = [run for run in runs if str(run.id) not in alive]
            for run in gone:
                # force: no rule of the server may refuse it, such as that for runs which are being cancelled.
                await client.set_flow_run_state(run.id, Crashed(message=_MESSAGE), force=True)
    return [run.name for run in gone]


def _alive() -> set[str]:
    """The ids of flow runs whose engine is a process here: it carries the id in its environment, as its children do."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, values = ((folder / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:  # it has ended, or belongs to another user
            continue
        # Its children, such as vLLM, inherit the id; only the engine itself is the run.
        if _ENGINE in command:
            found |= {value.removeprefix(_SIGN).decode() for value in values if value.startswith(_SIGN)}
    return found
