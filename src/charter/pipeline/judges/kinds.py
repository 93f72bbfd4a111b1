"""The judge that a configuration names."""

from functools import partial

from charter.config import Judge, Selection
from charter.constitution import Constitution, eligible, load_constitution
from charter.pipeline.judges import choice, critic, reasoned, score
from charter.pipeline.judges.panel import PanelMember, compare_by_panel
from charter.pipeline.judges.protocol import JUDGES, Compare

BUILT_IN = (choice, critic, reasoned, score)
"""Modules whose import registers a judge each."""


def judge_of(settings: Judge) -> Compare:
    """The configured judge, ready to compare.

    Raises:
        ConfigError: no judge of a kind is registered.
        ConstitutionError: a member's constitution cannot be read.
    """
    # `JUDGES[...]` raises for an unknown kind here, before any call is made.
    if settings.kind != "panel":
        return partial(JUDGES[settings.kind].compare, settings=settings)
    members = []
    for member in settings.panel:
        constitution = load_constitution(member.constitution) if member.constitution else None
        compare = partial(JUDGES[member.kind].compare, settings=settings)
        members.append(PanelMember(member.name, compare, constitution, bool(member.base_urls)))
    return partial(compare_by_panel, settings=settings, members=members)


def kinds_of(settings: Judge) -> list[str]:
    """The kinds that judge: of a panel those of its members."""
    return [member.kind for member in settings.panel] or [settings.kind]


def check_judge(settings: Judge, constitution: Constitution) -> None:
    """Check that the judge's kinds are registered, and that each constitution it uses has principles to judge by.

    Raises:
        ConstitutionError: a member's constitution cannot be read.
        ConfigError: no judge of a kind is registered, or no principle has a tag of `settings.tags`.
    """
    for kind in kinds_of(settings):
        JUDGES[kind]
    of_members = (load_constitution(member.constitution) for member in settings.panel if member.constitution)
    for each in (constitution, *of_members):
        eligible(each, Selection(tags=settings.tags))
