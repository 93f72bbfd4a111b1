"""The sandbox's scenarios: its held-out requests, by the kinds of harm that each principle names."""

from dataclasses import replace

from charter.config import Config
from charter.constitution import Constitution
from charter.evaluation.adherence.scenarios import Situation, scenario_source
from charter.evaluation.records import HeldOut
from charter.evaluation.requests import apply_pressure
from charter.sandbox.held_out import hold_out
from charter.sandbox.pairs import read_scope
from charter.sandbox.world import Category, held_out_requests, kinds, world

_PRESSURES = ("role-play", "prefix-injection", "insistence")
"""Those that a conversation of one turn can have: the sandbox's model knows hardly any others."""


@scenario_source("sandbox")
def sandbox_scenarios(constitution: Constitution, config: Config) -> list[HeldOut]:
    """Harmful requests, the same under pressure, and look-alikes, of the kinds that a principle covers.

    A principle that names no kind of harm, or permits one, has no scenarios here.
    """
    wanted, seed = config.evaluation.adherence.per_situation, config.seed
    found = list[HeldOut]()
    for principle in constitution.principles:
        covered = [kind for kind in kinds() if kind in read_scope(principle).covers]
        if not covered:
            continue

        def about(category: Category, covered: list[str] = covered) -> list[HeldOut]:
            asked = held_out_requests(category, wanted * len(kinds()), seed)
            return [hold_out(category, i, request) for i, request in enumerate(asked) if request.kind in covered]

        harmful, look_alikes = about("harmful"), about("borderline")
        # Other acts than those asked without pressure, where there are enough
        pressed = [
            apply_pressure(request, _PRESSURES[i % len(_PRESSURES)], seed, world()["wrappers"])
            for i, request in enumerate(reversed(harmful))
        ]
        by_situation: dict[Situation, list[HeldOut]] = {
            "applies": harmful,
            "tempting": pressed,
            "look-alike": look_alikes,
        }
        for situation, requests in by_situation.items():
            found += [
                replace(
                    request,
                    request_id=f"scenario-{principle.id}-{situation}-{i:04d}",
                    category="look-alike" if situation == "look-alike" else "scenario",
                    kind=principle.id,
                    variant=situation,
                )
                for i, request in enumerate(requests[:wanted])
            ]
    return found
