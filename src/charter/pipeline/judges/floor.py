"""A run's floor under its judge: an audit that is good enough, and that is about this judge."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Generation, Judge
from charter.core.errors import ConfigError
from charter.core.templates import template_hash
from charter.pipeline.judges.kinds import kinds_of
from charter.pipeline.judges.protocol import JUDGES

_OF_EVERY_JUDGE = ("principles", "tags", "tie_margin", "combine")


class _Audited(NamedTuple):
    low: float
    """The lower end of its agreement."""
    ties: float
    """Their share; 0 where an audit was made before they were kept."""
    shift: float
    """The lower end of its sensitivity to the principle; 0 where that was not measured."""
    identity: str
    kind: str
    members: Sequence[tuple[str, str, str | None]]
    """Name, kind, and the identity of the model that judges for it, where that is another one."""
    settings: Mapping[str, Any]


def how_asked(settings: Judge, generation: Generation) -> dict[str, Any]:
    """What decides how the judge is asked, beside its own settings: its templates, and whether a preface goes before.

    Raises:
        ConfigError: there is no template of that name.
    """
    names = sorted({name for kind in kinds_of(settings) for name in JUDGES[kind].templates})
    hashes = {name: template_hash(name, generation.templates) for name in names}
    return {"preface": generation.preface, "templates": hashes}


def check_audit(
    settings: Judge, identity: str, others: Mapping[str, str] | None = None, generation: Generation | None = None
) -> None:
    """Refuse a judge whose audit is missing, about another judge, below `min_agreement`, or mostly ties.

    The audit may have been made under another constitution: it measures the model, not that constitution.

    Args:
        settings: of the judge; nothing is asked of it where `settings.audit` is empty.
        identity: of the model that is to judge.
        others: the models of a panel's members that have their own, by the member's name.
        generation: the run's; the defaults when empty.

    Raises:
        ConfigError: the judge must not label; says why, and the command that audits it.
    """
    if settings.audit is None:
        return
    named, advice = f"judge.audit '{settings.audit}'", "Run `charter judge audit` on this judge, or change judge.audit."
    judge = _read(settings.audit, named, advice)
    mine = _deciding(settings, generation or Generation())
    if difference := _difference(judge, settings, mine, identity, others or {}):
        raise ConfigError(f"{named}: is about {difference}. {advice}")
    if judge.ties > settings.max_ties:
        raise ConfigError(
            f"{named}: the judge ties on {judge.ties:.1%} of the pairs, and judge.max_ties allows "
            f"{settings.max_ties:.1%}: what it is right in are the few others. Use another judge, principles that bear "
            "on the pairs, or raise judge.max_ties."
        )
    if judge.shift < settings.min_sensitivity:
        raise ConfigError(
            f"{named}: the better answer is at least {judge.shift:.2f} more probable under principles that apply than "
            f"under others, and judge.min_sensitivity asks for {settings.min_sensitivity:.2f}. Use a judge that reads "
            "the principle, or lower judge.min_sensitivity."
        )
    if judge.low < settings.min_agreement:
        raise ConfigError(
            f"{named}: the judge agrees with the labels in {judge.low:.1%} of its verdicts at least (the lower end of "
            f"the 95 % interval), and judge.min_agreement asks for {settings.min_agreement:.1%}. Use another judge, "
            "audit it on more pairs, or lower judge.min_agreement."
        )


def _difference(
    audited: _Audited, settings: Judge, mine: Mapping[str, Any], identity: str, others: Mapping[str, str]
) -> str:
    """In what the judge that was audited is another one; nothing if it is the same."""
    if not _same(audited.identity, identity):
        return f"another model ({audited.identity}, and this run's judge is {identity})"
    if audited.kind != settings.kind:
        return f"the judge '{audited.kind}', and judge.kind is '{settings.kind}'"
    members = [(member.name, member.kind, others.get(member.name)) for member in settings.panel]
    if audited.members != members:
        return f"the panel {_listed(audited.members)}, and judge.panel is {_listed(members)}"
    return next(_other_settings(audited.settings, mine), "")


def _deciding(settings: Judge, generation: Generation) -> dict[str, Any]:
    """By their names in a config, the settings that decide what the labels are, as an audit keeps them."""
    decisive = label_settings(kinds_of(settings))
    values = settings.model_dump(mode="json", include=set(decisive))
    return {f"judge.{name}": values[name] for name in decisive} | {
        f"generation.{name}": value for name, value in how_asked(settings, generation).items()
    }


def label_settings(kinds: Iterable[str]) -> list[str]:
    """The fields of `Judge` that change what the labels of these kinds are, in their order in `Judge`."""
    decisive = {*_OF_EVERY_JUDGE, *(name for kind in kinds for name in JUDGES[kind].settings)}
    return [name for name in Judge.model_fields if name in decisive]


def _other_settings(audited: Mapping[str, Any], mine: Mapping[str, Any]) -> Iterator[str]:
    """What the audit was made with and the run is not: where only clear verdicts count, most judges agree."""
    for named, value in mine.items():
        name = named.partition(".")[2]
        if name in audited and audited[name] != value:  # an audit made before a setting was kept has none
            yield f"a judge with {named} {audited[name]}, and this run's is {value}"


def _read(path: Path, named: str, advice: str) -> _Audited:
    """The judge that was audited, and how well it did."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
        judge, figures = record["judge"], record["figures"]
        rate, ties = figures["agreement"], figures.get("ties", {}).get("value") or 0.0
        members = [(str(m["name"]), str(m["kind"]), m.get("identity")) for m in judge.get("members", ())]
        low = float(rate["low"]) if rate["n"] else 0.0
        who = (str(judge["identity"]), str(judge["kind"]), members, dict(record.get("settings", {})))
        shift = float((figures.get("sensitivity") or {"shift": {"low": 0.0}})["shift"]["low"])
        return _Audited(low, float(ties), shift, *who)
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
