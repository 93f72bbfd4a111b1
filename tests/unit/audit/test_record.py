"""The record, its page and its words: complete, escaped, and the same from the same JSON."""

import base64
import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from charter.audit.judged import AuditedPairs, JudgedPair
from charter.audit.labelled import LabelledData
from charter.audit.record import make_record, render_audit, write_record
from charter.config import Judge, Member
from charter.constitution import Constitution
from charter.core.errors import CountMismatch
from charter.core.messages import user
from charter.pipeline.rows import failure
from charter.report.audit_text import audit_markdown, audit_text
from tests.support.html_page import HOSTILE, Page
from tests.support.judged_pairs import LAW, Prefers, always_a, good, judged, pair

SURE = good(0.98)
WHO = {"model": "null", "identity": "sha256:abc"}


async def recorded(prefers: Prefers = SURE, n: int = 60, floor: float = 0.8, **changes: Any) -> Any:
    asked = [pair(i, human="better", models=(("null", "x"), ("x", "null"))[i // 4 % 2], **changes) for i in range(n)]
    rejects = (failure({"row_id": "line 3"}, "labelled", "malformed-row", "line 3: not JSON"),)
    labelled = LabelledData(tuple(asked), rejects, 5, n + 6, "columns")
    said = AuditedPairs(await judged(prefers, asked), [])
    record = make_record(
        labelled, said, LAW, Judge(principles=2, min_agreement=floor), WHO, "p.jsonl", own_names={"null"}
    )
    return record, labelled, said


async def test_a_record_says_who_what_and_how_well() -> None:
    record, _, _ = await recorded()
    judge = {"model": "null", "identity": "sha256:abc", "kind": "choice", "members": [], "own": ["null"]}
    assert record["judge"] == judge
    assert (record["figures"]["splits"], record["figures"]["by_member"]) == (None, {})
    assert record["constitution"] == {"name": "law", "version": "1", "hash": LAW.hash}
    counts = {"read": 66, "rejected": {"malformed-row": 1}, "not_drawn": 5, "judged": 60, "failed": {}}
    assert record["data"] == {"source": "p.jsonl", "format": "columns", **counts}
    assert (record["passed"], record["concerns"], record["mistakes"]) == (True, [], [])
    assert json.loads(json.dumps(record, allow_nan=False)) == record


async def test_the_floor_is_under_the_lower_end_of_the_interval() -> None:
    record, _, _ = await recorded(floor=0.95)  # all of 60 are right: at least 94 % with 95 % confidence
    assert record["figures"]["agreement"]["low"] == pytest.approx(60 / (60 + 1.959964**2))
    assert not record["passed"]
    assert [concern["figure"] for concern in record["concerns"]] == ["agreement"]


async def test_a_judge_that_decides_little_fails_however_right_it_is() -> None:
    def seldom_sure(a: str, b: str) -> float:
        return SURE(a, b) if int(a.split()[1]) < 40 else 0.5

    asked = [pair(i) for i in range(100)]
    said = AuditedPairs(await judged(seldom_sure, asked), [])
    record = make_record(LabelledData(tuple(asked), (), 0, 100, "columns"), said, LAW, Judge(), WHO, "p.jsonl")
    assert record["figures"]["agreement"]["low"] > 0.8 and record["figures"]["ties"]["value"] == 0.6
    assert not record["passed"] and record["max_ties"] == 0.5
    assert "60.0 % of the pairs are ties, over the limit of 50.0 %; agreement is" in audit_text(record)
    assert "Too many ties" in render_audit(record)
    assert record["settings"]["preface"] is False and list(record["settings"]["templates"]) == ["choice"]


async def test_lost_pairs_are_a_bug() -> None:
    _, labelled, said = await recorded(n=4)
    with pytest.raises(CountMismatch, match="4 pairs in, 3 judged and 0 failed"):
        make_record(labelled, AuditedPairs(said.pairs[:3], []), LAW, Judge(), WHO, "p.jsonl")


async def test_the_folder_holds_everything(tmp_path: Path) -> None:
    record, labelled, said = await recorded()
    path = write_record(tmp_path / "audit", record, labelled, said)
    assert path == tmp_path / "audit" / "audit.json"
    assert json.loads(path.read_text()) == record
    rows = [json.loads(line) for line in (path.parent / "judged.jsonl").read_text().splitlines()]
    assert [row["row_id"] for row in rows] == [x.pair.row_id for x in said.pairs]
    assert rows[0]["p"] == pytest.approx(0.98) and len(rows[0]["by_principle"]) == 2
    failures = pl.read_parquet(path.parent / "failures.parquet")
    assert failures.select("row_id", "stage", "reason").rows() == [("line 3", "labelled", "malformed-row")]
    assert "Above the floor" in (path.parent / "audit.html").read_text()


async def test_the_page_asks_for_nothing_and_names_its_one_style_sheet() -> None:
    record, _, _ = await recorded(always_a)
    html = render_audit(record)
    page = Page(html)
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"script", "link", "iframe", "object", "embed", "img", "form", "a "}
    )
    for _, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "srcset")]
        assert (attributes.get("href") or "#").startswith("#")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in html
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    text = "".join(page.text)
    assert "Below the floor" in text and "100.0 % of those name A both times" in text


async def test_the_page_shows_the_reliability_of_what_is_fitted() -> None:
    record, _, _ = await recorded(lambda a, b: 0.9 if a.startswith("good") else 0.3, n=80)
    text = "".join(Page(render_audit(record)).text)
    assert "as it is: 80 % sure, 100 % right" in text
    assert "isotonic: 100 % sure, 100 % right" in text
    few, _, _ = await recorded(n=10)
    assert "too few pairs to fit a calibration" in "".join(Page(render_audit(few)).text)


async def test_a_kind_and_a_principle_of_one_name_both_show() -> None:
    asked = [JudgedPair(pair(i, kind="p0"), 0.9, ("p0", "p1"), (0.9, 0.2), 0.9, 0.9, True) for i in range(8)]
    asked += [JudgedPair(pair(i, kind="p1"), 0.9, ("p0", "p1"), (0.9, 0.2), 0.9, 0.9, True) for i in range(8, 16)]
    labelled = LabelledData(tuple(x.pair for x in asked), (), 0, 16, "columns")
    text = "".join(
        Page(render_audit(make_record(labelled, AuditedPairs(asked, []), LAW, Judge(), WHO, "p.jsonl"))).text
    )
    assert "p0: 100.0 % of 8; p1: 100.0 % of 8; p0: 100.0 % of 16; p1: 0.0 % of 16" in text


async def test_a_panel_s_record_shows_its_members_on_the_page_and_in_words(tmp_path: Path) -> None:
    (tmp_path / "south.md").write_text("---\nname: south\nversion: 7\n---\n## South\nAs they hold in the south.\n")
    members = (Member(name="north"), Member(name="south", constitution=tmp_path / "south.md"))
    said = [
        JudgedPair(pair(i), 0.9, ("p0", "south/south"), (0.9, p), 0.9, 0.9, True, by_member=(0.9, p), split=i % 4 == 0)
        for i in range(40)
        for p in ((0.1,) if i % 4 == 0 else (0.9,))
    ]
    labelled = LabelledData(tuple(x.pair for x in said), (), 0, 40, "columns")
    settings = Judge(kind="panel", panel=members, principles=1, min_agreement=0.5)
    record = make_record(labelled, AuditedPairs(said, []), LAW, settings, WHO, "p.jsonl")
    assert record["figures"]["splits"]["value"] == 0.25
    assert record["figures"]["splits_by_kind"]["theft"]["value"] == 0.5  # of even numbers, every second pair
    assert record["figures"]["by_member"]["south"]["agreement"]["value"] == 0.75
    assert record["figures"]["agreement"]["n"] == 30
    page = " ".join(Page(render_audit(record)).text)
    assert "for each of 2 members" in page and "south 7" in page
    assert audit_markdown(record).startswith("**Judge audit: passed.** Members split on 25.0 % of 40 labelled pairs")
    assert "| pairs on which it splits | 25.0 % |" in audit_markdown(record)
    assert "| south | 75.0 % |" in audit_markdown(record)


def worst(text: str) -> Any:
    """A record with `text` wherever a user, a model or a file can put some."""
    asked = [
        pair(i, prompt=(user(f"{text} {i}"),), better=f"good {text}", worse=f"bad {text} {i}", kind=text, source=text)
        for i in range(8)
    ]
    said = AuditedPairs([JudgedPair(one, 0.1, (text, "p1"), (0.1, 0.1), 0.1, 0.1, True) for one in asked], [])
    labelled = LabelledData(tuple(asked), (failure({"row_id": text}, "labelled", text, text),), 0, 9, "columns")
    law = Constitution(text, text, LAW.principles)
    return make_record(labelled, said, law, Judge(), {"model": text, "identity": text}, text, own_names={text})


@lru_cache
def skeleton(text: str) -> list[str]:
    return [tag for tag, _ in Page(page(text)).tags if tag not in ("path", "g", "text", "use")]


@lru_cache
def page(text: str) -> str:
    return render_audit(worst(text))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_only_ever_text(text: str) -> None:
    assert skeleton(text) == skeleton("words")
    html = page(text)
    html.encode("utf-8")
    assert "\x00" not in html and "\x1b" not in html and "<script" not in html


async def test_the_table_fits_a_terminal_and_says_what_is_wrong() -> None:
    record, _, _ = await recorded(always_a)
    text = audit_text(record)
    assert max(map(len, text.split("\n\n")[1].splitlines())) <= 80
    assert re.search(r"^verdicts that flip +100\.0 %  94\.0 to 100\.0 %, n 60$", text, re.MULTILINE)
    assert "! 100.0 % of its verdicts flip with the order of the answers" in text
    assert text.endswith("under the floor of 80.0 %.")
    for part in ("theft", "p0", "made up", "kappa with people"):
        assert part in text
    assert "right, better is its own" not in text  # without a verdict there is nothing to be vain about
    sure, _, _ = await recorded()
    assert re.search(
        r"^right, worse is its own +100\.0 %  87\.9 to 100\.0 %, n 28, gap p = 1\.000$", audit_text(sure), re.M
    )


async def test_markdown_for_an_artifact_escapes_what_markdown_acts_on() -> None:
    record, _, _ = await recorded()
    text = audit_markdown(record)
    assert text.startswith("**Judge audit: passed.** On 60 labelled pairs the judge agrees")
    assert "| agreement, without ties | 100.0 % | 94.0 to 100.0 %, n 60 |" in text
    hostile = audit_markdown(worst("<b>a|b*c\nd</b>"))
    assert "<b>" not in hostile and "a\\|b\\*c d" in hostile


async def test_the_same_record_gives_the_same_page() -> None:
    record, _, _ = await recorded()
    assert render_audit(json.loads(json.dumps(record))) == render_audit(record)
