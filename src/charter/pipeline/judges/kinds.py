"""The judge that a configuration names."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from charter.config import Judge, JudgeKind, Selection
from charter.constitution import Constitution, eligible, load_constitution
from charter.pipeline.judges import choice, critic, panel, reasoned, score
from charter.pipeline.judges.panel import Seat
from charter.pipeline.judges.protocol import Compare, Judgement

KINDS: dict[JudgeKind, Callable[..., Coroutine[Any, Any, Judgement]]] = {
    "choice": choice.compare,
    "reasoned": reasoned.compare,
    "score": score.compare,
    "critic": critic.compare,
}


def judge_of(settings: Judge) -> Compare:
    """The configured judge, ready to compare.

    Raises:
        ConstitutionError: a member's constitution cannot be read.
    """
    if settings.kind != "panel":
        return partial(KINDS[settings.kind], settings=settings)
    seats = []
    for member in settings.panel:
        law = load_constitution(member.constitution) if member.constitution else None
        seats.append(Seat(member.name, partial(KINDS[member.kind], settings=settings), law, bool(member.base_urls)))
    return partial(panel.compare, settings=settings, seats=seats)


def check_laws(settings: Judge, law: Constitution) -> None:
    """Look whether `law`, and the constitution of each member that has its own, has principles to judge by.

    Raises:
        ConstitutionError: a member's constitution cannot be read.
        ConfigError: one of them has no principle with a tag of `settings.tags`.
    """
    theirs = (load_constitution(member.constitution) for member in settings.panel if member.constitution)
    for each in (law, *theirs):
        eligible(each, Selection(tags=settings.tags))
