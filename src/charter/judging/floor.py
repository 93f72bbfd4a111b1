"""A run's floor under its judge: an audit that is good enough, and that is about this judge."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Judge
from charter.errors import ConfigError

SETTINGS: Mapping[str, Collection[str]] = {
    "principles": (),
    "tie_margin": (),
    "combine": (),
    "samples": ("reasoned",),
    "clamp": ("reasoned",),
    "score_temperature": ("score",),
}
"""Of the judge's settings those that decide what its labels are, each with the kinds that it counts for; () is all."""


class _Audited(NamedTuple):
    identity: str
    kind: str
    members: Sequence[tuple[str, str, str | None]]
    """Name, kind, and the identity of the model that judges for it, where that is another one."""
    settings: Mapping[str, Any]


def check_audit(settings: Judge, identity: str, others: Mapping[str, str] | None = None) -> None:
    """Refuse a judge whose audit is missing, about another judge, or below `settings.min_agreement`.

    The audit may have been made under another constitution: it tells how well the model judges, not the law.

    Args:
        settings: of the judge; nothing is asked of it where `settings.audit` is empty.
        identity: of the model that is to judge.
        others: the models of a panel's members that have their own, by the member's name.

    Raises:
        ConfigError: the judge must not label; says why, and the command that audits it.
    """
    if settings.audit is None:
        return
    named, advice = f"judge.audit '{settings.audit}'", "Run `charter judge audit` on this judge, or change judge.audit."
    judge, low = _read(settings.audit, named, advice)
    if difference := _difference(judge, settings, identity, others or {}):
        raise ConfigError(f"{named}: is about {difference}. {advice}")
    if low < settings.min_agreement:
        raise ConfigError(
            f"{named}: the judge agrees with the labels in {low:.1%} of its verdicts at least (the lower end of the "
            f"95 % interval), and judge.min_agreement asks for {settings.min_agreement:.1%}. Use another judge, audit "
            "it on more pairs, or lower judge.min_agreement."
        )


def _difference(audited: _Audited, settings: Judge, identity: str, others: Mapping[str, str]) -> str:
    """In what the judge that was audited is another one; nothing if it is the same."""
    if not _same(audited.identity, identity):
        return f"another model ({audited.identity}, and this run's judge is {identity})"
    if audited.kind != settings.kind:
        return f"the judge '{audited.kind}', and judge.kind is '{settings.kind}'"
    members = [(member.name, member.kind, others.get(member.name)) for member in settings.panel]
    if audited.members != members:
        return f"the panel {_listed(audited.members)}, and judge.panel is {_listed(members)}"
    return next(_other_settings(audited.settings, settings), "")


def _other_settings(audited: Mapping[str, Any], settings: Judge) -> Iterator[str]:
    """What the audit was made with and the run is not: where only clear verdicts count, most judges agree."""
    kinds = {settings.kind, *(member.kind for member in settings.panel)}
    for name, of_kinds in SETTINGS.items():
        mine = getattr(settings, name)
        counts = not of_kinds or kinds.intersection(of_kinds)
        if counts and name in audited and audited[name] != mine:  # an audit made before settings were kept has none
            yield f"a judge with judge.{name} {audited[name]}, and this run's is {mine}"


def _read(path: Path, named: str, advice: str) -> tuple[_Audited, float]:
    """The judge that was audited, and the lower end of its agreement."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
        judge, rate = record["judge"], record["figures"]["agreement"]
        members = [(str(m["name"]), str(m["kind"]), m.get("identity")) for m in judge.get("members", ())]
        audited = _Audited(str(judge["identity"]), str(judge["kind"]), members, dict(record.get("settings", {})))
        return audited, float(rate["low"]) if rate["n"] else 0.0
    except OSError as error:
        raise ConfigError(f"{named}: cannot be read ({error.strerror}). {advice}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{named}: is no audit.json of `charter judge audit`. {advice}") from error


def _listed(members: Sequence[tuple[str, str, str | None]]) -> str:
    return ", ".join(" ".join(filter(None, member)) for member in members) or "empty"


def _same(audited: str, identity: str) -> bool:
    """Whether both name the same weights; a hub id that is not fetched yet has no revision to compare."""
    if audited == identity:
        return True
    one, other = audited.rpartition("@"), identity.rpartition("@")
    unresolved = "unresolved" in (one[2], other[2])
    return unresolved and one[0] == other[0] and one[0].startswith("hub:")
