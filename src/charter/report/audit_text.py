"""A judge's audit as one sentence and as tables, for the terminal, Prefect and the audit's page."""

from collections.abc import Mapping
from typing import Any

from charter.core.formatting import interval, p_value, percent
from charter.core.tables import TextTable
from charter.core.text import inline

PARTS = {
    "member": "by_member",
    "member, kind": "by_member_on_kind",
    "kind": "by_kind",
    "principle": "by_principle",
    "source": "by_source",
}
"""The breakdowns of agreement, and their keys in the record's figures."""
SENSITIVITY = {
    "p, principle applies": "applicable",
    "p, it does not apply": "inapplicable",
    "p, it is inverted": "inverted",
    "shift by the principle": "shift",
}
"""The means of the probability of the better answer, by the sort of principle, and their difference."""
CALIBRATION = {
    "whole": "all pairs",
    "before": "other half, as it is",
    "temperature": "other half, temperature",
    "isotonic": "other half, isotonic",
}
"""The scored sets of pairs: all; then, for the half that no calibration was fitted to, before and after each."""


def audit_tables(record: Mapping[str, Any]) -> list[TextTable]:
    """The metrics in reading order, the calibration scores, and agreement by each part that has entries."""
    figures = record["figures"]
    scores = {title: figures["calibration"][key] for key, title in CALIBRATION.items()}
    calibration = [
        [title, *("-" if s[key] is None else f"{s[key]:.3f}" for key in ("ece", "brier", "log_loss")), f"{s['n']:,}"]
        for title, s in scores.items()
        if s
    ]
    caption = "Lower is better. ECE: mean distance between confidence and share of right verdicts."
    tables = [
        TextTable(("metric", "value", "95 % interval"), _metrics(figures), "Metrics", left=(0, 2)),
        TextTable(("calibration", "ECE", "Brier", "log loss", "n"), calibration, caption),
    ]
    for title, key in PARTS.items():
        rows = [
            [name, percent(rate["value"]), interval(rate), f"{rate['n']:,}", percent(entry["ties"]["value"])]
            for name, entry in figures[key].items()
            for rate in (entry["agreement"],)
        ]
        columns = (title, "right", "95 % interval", "n", "ties")
        # A single judge has no members, and some data have no kinds or sources.
        tables += [TextTable(columns, rows, f"Agreement by {title}", left=(0, 2))] if rows else []
    return tables


def audit_sentence(record: Mapping[str, Any]) -> str:
    """The audit in one sentence that a person can repeat."""
    figures = record["figures"]
    rate, pairs = figures["agreement"], f"{figures['pairs']:,} labelled pairs"
    on, these = f"On {pairs}", "the pairs"
    if figures.get("splits"):
        on, these = f"Members split on {percent(figures['splits']['value'])} of {pairs}; on the others", "these"
    if not rate["n"]:
        return f"{on} the judge gives no verdict."
    return (
        f"{on} the judge agrees with the label in {percent(rate['value'])} of its verdicts ({interval(rate)}); "
        f"{percent(figures['ties']['value'])} of {these} are ties."
    )


def audit_text(record: Mapping[str, Any]) -> str:
    """For the terminal: who was audited on what, the tables, and what is wrong with the judge."""
    judge, data = record["judge"], record["data"]
    head = (
        f"judge {judge['model']} ({judge['kind']}), {judge['identity']}\n"
        f"pairs {data['judged']} judged, {sum(data['failed'].values())} failed; {data['read']} read from "
        f"{data['source']} ({data['format']}), {sum(data['rejected'].values())} not usable, "
        f"{data['not_drawn']} not drawn"
    )
    concerns = "\n".join(f"! {concern['text']}" for concern in record["concerns"])
    return "\n\n".join(filter(None, (head, *(t.text(27) for t in audit_tables(record)), concerns, _outcome(record))))


def audit_markdown(record: Mapping[str, Any]) -> str:
    """For a Prefect artifact."""
    judge, constitution = record["judge"], record["constitution"]
    under = f"{constitution['name']} {constitution['version']}"
    parts = [
        f"**Judge audit: {'passed' if record['passed'] else 'failed'}.** {inline(audit_sentence(record))}",
        "\n".join(f"- **{concern['figure']}**: {inline(concern['text'])}" for concern in record["concerns"]),
        *(table.markdown() for table in audit_tables(record)),
        f"Judge {inline(judge['model'])} ({inline(judge['identity'])}) under {inline(under)}; {_outcome(record)}",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _metrics(figures: Mapping[str, Any]) -> list[list[str]]:
    position, length, own = figures["position"], figures["length"], figures["self_preference"]
    rows = []
    # How often a panel splits; the other metrics omit splits. Audits from before panels could be audited lack it.
    if figures.get("splits"):
        rows = [_rate("pairs on which it splits", figures["splits"])]
        rows += [_rate(f"split on {kind}", rate) for kind, rate in figures["splits_by_kind"].items() if rate["value"]]
        rows += [
            _rate(f"{name} alone on {kind}", rate)
            for kind, members in figures.get("dissent", {}).items()
            if len(members) > 2  # of two members, each is alone against the other
            for name, rate in members.items()
            if rate["value"]
        ]
    rows += [
        _rate("agreement, without ties", figures["agreement"]),
        _rate("ties", figures["ties"]),
        _rate("agreement in one order", figures["one_order"]["agreement"]),
        _rate("verdicts that flip", position["flips"]),
        ["flips that name A twice", percent(position["a_twice"]["value"]), _p(position["p"])],
        _rate("right, better is longer", length["better_is_longer"]),
        _rate("right, better is shorter", length["better_is_shorter"], f", gap {_p(length['p'])}"),
        _coefficient("log-odds with length", length["correlation"]),
    ]
    if sensitivity := figures.get("sensitivity"):
        for title, name in SENSITIVITY.items():
            rate = sensitivity[name]
            rows.append([title, f"{rate['value']:.2f}", f"{rate['low']:.2f} to {rate['high']:.2f}, n {rate['n']}"])
    if own:
        rows.append(_rate("right, better is its own", own["better_is_own"]))
        rows.append(_rate("right, worse is its own", own["worse_is_own"], f", gap {_p(own['p'])}"))
    return rows + ([_coefficient("kappa with people", figures["kappa"])] if figures["kappa"] else [])


def _outcome(record: Mapping[str, Any]) -> str:
    # The bound decides, not the value: a few pairs must not be able to pass a bad judge.
    low = record["figures"]["agreement"]["low"]
    where = "at or above" if low >= record["floor"] else "under"
    text = f"agreement is {percent(low)} or more with 95 % confidence: {where} the floor of {percent(record['floor'])}."
    ties, most = record["figures"]["ties"]["value"], record.get("max_ties", 1.0)
    # A judge that calls everything a tie is never wrong; the limit on ties catches it.
    return text if ties <= most else f"{percent(ties)} of the pairs are ties, over the limit of {percent(most)}; {text}"


def _rate(name: str, rate: Mapping[str, Any], note: str = "") -> list[str]:
    return [name, percent(rate["value"]), f"{interval(rate)}, n {rate['n']}{note}"]


def _coefficient(name: str, rate: Mapping[str, Any]) -> list[str]:
    if rate["value"] is None:
        return [name, "-", "no data"]
    return [name, f"{rate['value']:+.2f}", f"{rate['low']:+.2f} to {rate['high']:+.2f}, n {rate['n']}"]


def _p(p: float | None) -> str:
    return "p -" if p is None else p_value(p)
