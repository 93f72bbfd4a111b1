"""Runs that fell silent: a flow run sends signs of life; when they stop, the server marks it as crashed.

A worker reports a run whose process ended. No one reports a run that was lost together with its worker, as in a power
cut; the UI would show it as running for ever.
"""

from datetime import timedelta

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.cockpit.settings import HEARTBEAT_S

# Two signs may be lost before a run counts as gone, plus half an interval for delays.
_SILENCE = timedelta(seconds=2.5 * HEARTBEAT_S)
_NAME = "runs that fell silent"
_SIGN = "prefect.flow-run.heartbeat"
_ENDS = ("Completed", "Failed", "Cancelled", "Cancelling", "Crashed", "Suspended", "Paused", "AwaitingRetry")
_MESSAGE = f"It gave no sign of life for {_SILENCE.seconds} seconds. Start it again: what it had finished is kept."


async def watch_for_silence(client: PrefectClient) -> None:
    """Register the automation, unless it exists: changes that people made to it are kept."""
    if await client.read_automations_by_name(_NAME):
        return
    automation = AutomationCore(
        name=_NAME,
        description="Marks a run as crashed when its process and its worker are gone.",
        trigger=EventTrigger(
            # Proactive: it fires when, after a sign of life, neither another one nor an end comes in time.
            posture=Posture.Proactive,
            after={_SIGN},
            expect={_SIGN, *(f"prefect.flow-run.{end}" for end in _ENDS)},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification({"prefect.resource.id": "prefect.deployment.*"}),
            for_each={"prefect.resource.id"},
            threshold=1,
            within=_SILENCE,
        ),
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=_MESSAGE, force=False)],
    )
    await client.create_automation(automation)
