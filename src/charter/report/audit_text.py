"""An audit in words: the table on the terminal, and Markdown for Prefect."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from charter.core.formatting import interval, percent

PARTS = (
    ("member", "by_member"),
    ("member, kind", "by_member_on_kind"),
    ("kind", "by_kind"),
    ("principle", "by_principle"),
    ("source", "by_source"),
)
"""What agreement is broken down by, and where it stands among the figures."""


class Line(NamedTuple):
    """One figure: what it is, its value, and its interval or what else belongs to it."""

    name: str
    value: str
    note: str = ""


def lines(record: Mapping[str, Any]) -> list[Line]:
    """The figures that matter most, in the order in which they are read."""
    found = record["figures"]
    place, size, own = found["position"], found["length"], found["self_preference"]
    rows = [
        *_splits(found),
        _rate("agreement, ties set aside", found["agreement"]),
        _rate("ties", found["ties"]),
        _rate("agreement in one order", found["one_order"]["agreement"]),
        _rate("verdicts that flip", place["flips"]),
        Line("flips that name A twice", percent(place["a_twice"]["value"]), f"p {_p(place['p'])}"),
        _rate("right, better is longer", size["better_is_longer"]),
        _rate("right, better is shorter", size["better_is_shorter"], f", gap p {_p(size['p'])}"),
        _number("log-odds with length", size["correlation"]),
    ]
    if own:
        rows.append(_rate("right, better is its own", own["better_is_own"]))
        rows.append(_rate("right, worse is its own", own["worse_is_own"], f", gap p {_p(own['p'])}"))
    if found["kappa"]:
        rows.append(_number("kappa with people", found["kappa"]))
    return rows


def _splits(found: Mapping[str, Any]) -> list[Line]:
    """Over all pairs, and over each kind on which a panel splits at all; the other figures leave these out."""
    if not found.get("splits"):  # an audit made before panels were audited has none
        return []
    kinds = [_rate(f"split on {kind}", rate) for kind, rate in found["splits_by_kind"].items() if rate["value"]]
    return [_rate("pairs on which it splits", found["splits"]), *kinds, *_dissent(found.get("dissent", {}))]


def _dissent(by_kind: Mapping[str, Any]) -> list[Line]:
    """Who stands against the others, on which kind; of two members each would be against the other."""
    return [
        _rate(f"{name} alone on {kind}", rate)
        for kind, members in by_kind.items()
        if len(members) > 2
        for name, rate in members.items()
        if rate["value"]
    ]


def calibration_lines(record: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """What was scored: all pairs; then, over the half that nothing was fitted to, before and after each mending."""
    scores = record["figures"]["calibration"]
    titles = {
        "whole": "all pairs",
        "before": "other half, as it is",
        "temperature": "other half, temperature",
        "isotonic": "other half, isotonic",
    }
    return [(title, scores[name]) for name, title in titles.items() if scores[name]]


def sentence(record: Mapping[str, Any]) -> str:
    """The audit in one sentence that a person can repeat."""
    found = record["figures"]
    rate, pairs = found["agreement"], f"{found['pairs']:,} labelled pairs"
    on, these = f"On {pairs}", "the pairs"
    if found.get("splits"):
        on, these = f"Members split on {percent(found['splits']['value'])} of {pairs}; on the others", "these"
    if not rate["n"]:
        return f"{on} the judge gives no verdict."
    return (
        f"{on} the judge agrees with the label in {percent(rate['value'])} of its verdicts ({interval(rate)}); "
        f"{percent(found['ties']['value'])} of {these} are ties."
    )


def audit_text(record: Mapping[str, Any]) -> str:
    """The table on the terminal, and what there is to worry about."""
    judge, data = record["judge"], record["data"]
    failed = sum(data["failed"].values())
    rows = [
        f"judge {judge['model']} ({judge['kind']}), {judge['identity']}",
        f"pairs {data['judged']} judged, {failed} failed; {data['read']} read from {data['source']} "
        f"({data['format']}), {sum(data['rejected'].values())} not usable, {data['not_drawn']} not drawn",
        "",
        *(f"{' '.join(line.name.split())[:27]:<28}{line.value:>9}  {line.note}".rstrip() for line in lines(record)),
        "",
        f"{'calibration':<28}{'ECE':>9}{'Brier':>9}{'log loss':>10}{'n':>7}",
    ]
    for title, s in calibration_lines(record):
        rows.append(f"{title:<28}{_digits(s['ece']):>9}{_digits(s['brier']):>9}{_digits(s['log_loss']):>10}{s['n']:>7}")
    for title, name in PARTS:
        rows += _breakdown(title, record["figures"][name])
    rows += ["", *(f"! {concern['text']}" for concern in record["concerns"])] if record["concerns"] else []
    return "\n".join([*rows, "", _outcome(record)])


def audit_markdown(record: Mapping[str, Any]) -> str:
    """The audit in Markdown, such as a Prefect artifact shows."""
    parts = [f"**Judge audit: {'passed' if record['passed'] else 'failed'}.** {_plain(sentence(record))}", ""]
    parts += [f"- **{concern['figure']}**: {_plain(concern['text'])}" for concern in record["concerns"]]
    parts += ["", "| figure | value | 95 % interval |", "|---|---:|---|"]
    parts += [f"| {_plain(line.name)} | {line.value} | {line.note} |" for line in lines(record)]
    parts += ["", "| calibration | ECE | Brier | log loss | n |", "|---|---:|---:|---:|---:|"]
    for title, s in calibration_lines(record):
        parts.append(f"| {title} | {_digits(s['ece'])} | {_digits(s['brier'])} | {_digits(s['log_loss'])} | {s['n']} |")
    for title, name in PARTS:
        if record["figures"][name]:
            parts += ["", f"| {title} | agreement | 95 % interval | ties |", "|---|---:|---|---:|"]
            parts += [_markdown_row(key, entry) for key, entry in record["figures"][name].items()]
    judge, law = record["judge"], record["constitution"]
    parts += [
        "",
        f"Judge {_plain(judge['model'])} ({_plain(judge['identity'])}) under {_plain(law['name'])} "
        f"{_plain(law['version'])}; {_outcome(record)}",
    ]
    return "\n".join(parts) + "\n"


def _breakdown(title: str, entries: Mapping[str, Any]) -> list[str]:
    if not entries:
        return []
    head = ["", f"{title:<28}{'right':>9}  {'95 % interval':<18}{'n':>6}{'ties':>9}"]
    return head + [
        f"{' '.join(name.split())[:27]:<28}{percent(e['agreement']['value']):>9}  {interval(e['agreement']):<18}"
        f"{e['agreement']['n']:>6}{percent(e['ties']['value']):>9}"
        for name, e in entries.items()
    ]


def _markdown_row(name: str, entry: Mapping[str, Any]) -> str:
    rate = entry["agreement"]
    return f"| {_plain(name)} | {percent(rate['value'])} | {interval(rate)} | {percent(entry['ties']['value'])} |"


def _outcome(record: Mapping[str, Any]) -> str:
    low = record["figures"]["agreement"]["low"]
    where = "at or above" if low >= record["floor"] else "under"
    said = f"agreement is {percent(low)} or more with 95 % confidence: {where} the floor of {percent(record['floor'])}."
    ties, most = record["figures"]["ties"]["value"], record.get("max_ties", 1.0)
    return said if ties <= most else f"{percent(ties)} of the pairs are ties, over the limit of {percent(most)}; {said}"


def _rate(name: str, rate: Mapping[str, Any], more: str = "") -> Line:
    return Line(name, percent(rate["value"]), f"{interval(rate)}, n {rate['n']}{more}")


def _number(name: str, rate: Mapping[str, Any]) -> Line:
    if rate["value"] is None:
        return Line(name, "-", "no data")
    return Line(name, f"{rate['value']:+.2f}", f"{rate['low']:+.2f} to {rate['high']:+.2f}, n {rate['n']}")


def _p(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _plain(text: str) -> str:
    """On one line, with what Markdown and HTML would act on taken as text."""
    escaped = "".join(f"\\{c}" if c in r"\`*_[]|~$" else c for c in " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
