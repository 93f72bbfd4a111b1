"""Pages as tests read them, and texts that try to break out of one."""

import dataclasses
import json
from html.parser import HTMLParser

from charter.report.data import BeforeAfter, ConstitutionReport, FailureCount, PrincipleReport, ReportData, StageReport
from charter.runs.blame import PrincipleStats
from charter.training.token_rewards import PairRewards
from tests.support.complete_report import complete

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Tags in order, attributes, visible text; unclosed or crossed tags are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><script>alert(1)</script>",
    "</details></div></body></html>",
    "{{ 7 * 7 }} {% for x in y %}",
    "<svg onload=alert(1)><!-- ",
    "]]></title><a href='javascript:alert(1)'>",
    "\x00\x1b[31m\u202eevil\ud800",
    "$\\frac{1}{$ & _ # |",
    "隐私 🙂 خصوصية",
    "long " * 2000,
)


def hostile(text: str) -> ReportData:
    """Every free text of the report replaced by `text`."""
    data = complete()
    kinds = {text: {"value": 0.5, "low": 0.2, "high": 0.8, "n": 10}}
    evaluation = json.loads(json.dumps(data.evaluation))
    for entry in evaluation["models"].values():
        entry["harmful_rate_by_kind"] = kinds
        if gaps := entry.get("group_gaps"):
            entry["group_gaps"] = {text: next(iter(gaps.values()))}
    for row in evaluation["benchmarks"]:
        row |= {"task": text, "measure": text, "tool": text}
    review = data.review | {"answers": data.review["answers"] | {"by": text}}
    return dataclasses.replace(
        data,
        name=text,
        made=text,
        command=text,
        evaluation=evaluation,
        constitution=ConstitutionReport(
            text,
            text,
            text,
            text,
            [PrincipleReport(text, text, text, PrincipleStats(1, 1, 1, 1, 0, 0.5, 0, 1, {text: 1}))],
        ),
        examples=[BeforeAfter(text, text, text, text, text, text, text, text, text)],
        failures=[FailureCount(text, text, 1, text)],
        stages=[StageReport(text, 1, 1, 0, 1.0)],
        versions={text: text},
        models={text: text},
        checkout={"commit": text, "dirty": True},
        machine={text: text},
        config={"name": text},
        pair_strategies={text: 3},
        audit=data.audit
        | {"judge": {"model": text, "identity": text}, "data": {"source": text}}
        | {"concerns": [{"figure": text, "text": text}]},
        review=review,
        heat=dataclasses.replace(data.heat, pairs=[_hostile_pair(pair, text) for pair in data.heat.pairs]),
        dissent={text: {text: next(iter(data.dissent["theft"].values()))}},
    )


def _hostile_pair(pair: PairRewards, text: str) -> PairRewards:
    chosen, rejected = (
        dataclasses.replace(side, tokens=[text] * len(side.tokens)) for side in (pair.chosen, pair.rejected)
    )
    return dataclasses.replace(pair, how=text, prompt=text, kind=text, chosen=chosen, rejected=rejected)


def skeleton(html: str) -> list[str]:
    """The page's elements; those of a drawing depend on the length of its words."""
    return [tag for tag, _ in Page(html).tags if tag not in ("path", "g", "text", "use")]
