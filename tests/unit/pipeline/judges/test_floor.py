"""A run refuses to label with a judge whose audit is too low, or about another model."""

import json
from pathlib import Path
from typing import Any

import pytest

from charter.config import Config, Generation, Judge, Member
from charter.core.errors import ConfigError
from charter.pipeline.judges.floor import check_audit, how_asked
from charter.runs.preflight import check_config
from charter.testing.null_server import NullServer, run_null_server

ME = "sha256:me"


def audit(
    path: Path,
    low: float = 0.9,
    identity: str = ME,
    n: int = 100,
    kind: str = "choice",
    members: Any = None,
    **settings: Any,
) -> Path:
    rate = {"value": None if n == 0 else (low + 1) / 2, "low": low, "high": 1.0, "n": n}
    judge = {"identity": identity, "kind": kind} | ({} if members is None else {"members": members})
    path.write_text(json.dumps({"judge": judge, "settings": settings, "figures": {"agreement": rate}}))
    return path


def refused(settings: Judge, identity: str = ME, others: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        check_audit(settings, identity, others)
    return str(raised.value)


def test_a_good_audit_of_this_judge_is_enough(tmp_path: Path) -> None:
    check_audit(Judge(audit=audit(tmp_path / "audit.json", 0.8), min_agreement=0.8), ME)
    check_audit(Judge(), "anything")


def test_an_audit_below_the_floor_is_refused_with_both_figures(tmp_path: Path) -> None:
    path = audit(tmp_path / "audit.json", 0.7123)
    said = refused(Judge(audit=path, min_agreement=0.75))
    assert str(path) in said and "71.2%" in said and "75.0%" in said and "judge.min_agreement" in said


def test_an_audit_without_a_verdict_is_below_every_floor(tmp_path: Path) -> None:
    assert "0.0%" in refused(Judge(audit=audit(tmp_path / "audit.json", 0.0, n=0), min_agreement=0.1))


def test_an_audit_of_another_model_is_refused(tmp_path: Path) -> None:
    said = refused(Judge(audit=audit(tmp_path / "audit.json")), "sha256:other")
    assert "another model (sha256:me, and this run's judge is sha256:other)" in said
    assert "charter judge audit" in said


def test_an_audit_of_another_way_to_judge_is_refused(tmp_path: Path) -> None:
    path = audit(tmp_path / "audit.json", kind="critic")
    assert "about the judge 'critic', and judge.kind is 'choice'" in refused(Judge(audit=path))
    check_audit(Judge(kind="critic", audit=path), ME)


def test_an_audit_of_another_panel_is_refused(tmp_path: Path) -> None:
    members = [{"name": "a", "kind": "choice", "constitution": None}, {"name": "b", "kind": "critic"}]
    path = audit(tmp_path / "audit.json", kind="panel", members=members)
    panel = (Member(name="a"), Member(name="b", kind="critic"))
    check_audit(Judge(kind="panel", panel=panel, audit=path), ME)
    said = refused(Judge(kind="panel", panel=(panel[0], Member(name="b", kind="score")), audit=path))
    assert "about the panel a choice, b critic, and judge.panel is a choice, b score" in said
    said = refused(Judge(kind="panel", panel=panel, audit=path), others={"b": "served:wise"})
    assert "the panel a choice, b critic, and judge.panel is a choice, b critic served:wise" in said


@pytest.mark.parametrize(
    ("name", "audited", "kind", "counts"),
    [
        ("tie_margin", 0.45, "choice", True),  # with which nearly every judge is right
        ("principles", 8, "choice", True),
        ("combine", "vote", "score", True),
        ("score_temperature", 3.0, "score", True),
        ("score_temperature", 3.0, "choice", False),
        ("samples", 5, "reasoned", True),
        ("clamp", 0.1, "choice", False),
        ("max_tokens", 9, "reasoned", True),
        ("max_tokens", 9, "choice", False),
        ("tags", ["safety"], "choice", True),
        ("tags", [], "choice", False),
    ],
)
def test_an_audit_with_other_settings_is_refused_where_they_decide(
    tmp_path: Path, name: str, audited: Any, kind: Any, counts: bool
) -> None:
    settings = Judge(kind=kind, audit=audit(tmp_path / "audit.json", kind=kind, **{name: audited}))
    if counts:
        mine = [] if name == "tags" else getattr(settings, name)
        assert f"a judge with judge.{name} {audited}, and this run's is {mine}" in refused(settings)
    else:
        check_audit(settings, ME)


def test_an_audit_of_a_judge_that_is_asked_otherwise_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "choice.md.j2").write_text("{{ answer_a }} or {{ answer_b }}?")
    shipped, own = Generation(), Generation(templates=tmp_path / "own")
    path = audit(tmp_path / "audit.json", **how_asked(Judge(), shipped))
    settings = Judge(audit=path)
    check_audit(settings, ME, None, shipped)
    for generation, named in ((own, "generation.templates"), (Generation(preface=True), "generation.preface False")):
        with pytest.raises(ConfigError, match=f"a judge with {named}"):
            check_audit(settings, ME, None, generation)
    scores = audit(tmp_path / "scores.json", kind="score", **how_asked(Judge(kind="score"), shipped))
    check_audit(Judge(kind="score", audit=scores), ME, None, own)  # whose template is another's


@pytest.mark.parametrize(("ties", "most", "passes"), [(0.5, 0.5, True), (0.6, 0.5, False), (0.2, 0.1, False)])
def test_a_judge_that_is_right_in_the_few_it_decides_is_refused(
    tmp_path: Path, ties: float, most: float, passes: bool
) -> None:
    path = audit(tmp_path / "audit.json", 0.99)
    record = json.loads(path.read_text())
    record["figures"]["ties"] = {"value": ties, "low": 0.0, "high": 1.0, "n": 100}
    path.write_text(json.dumps(record))
    settings = Judge(audit=path, max_ties=most)
    if passes:
        check_audit(settings, ME)
    else:
        assert f"ties on {ties:.1%} of the pairs, and judge.max_ties allows {most:.1%}" in refused(settings)


@pytest.mark.parametrize(
    ("audited", "asked", "same"),
    [
        ("hub:org/m@abc", "hub:org/m@abc", True),
        ("hub:org/m@abc", "hub:org/m@unresolved", True),
        ("hub:org/m@abc", "hub:org/m@def", False),
        ("hub:org/m@abc", "hub:org/n@unresolved", False),
        ("served:m@unresolved", "served:m@x", False),
    ],
)
def test_a_hub_id_that_is_not_fetched_yet_has_no_revision_to_compare(
    tmp_path: Path, audited: str, asked: str, same: bool
) -> None:
    settings = Judge(audit=audit(tmp_path / "audit.json", identity=audited))
    if same:
        check_audit(settings, asked)
    else:
        assert "another model" in refused(settings, asked)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"judge": {"identity": "x"}}'])
def test_what_is_no_audit_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "audit.json"
    if content is not None:
        path.write_text(content)
    assert str(path) in refused(Judge(audit=path))
    assert "charter judge audit" in refused(Judge(audit=path))


def test_a_run_is_checked_before_it_starts(tmp_path: Path) -> None:
    with run_null_server(NullServer(model_name="judge")) as server:
        values: dict[str, Any] = {"prompts": {"n": 8}, "serving": {"base_urls": [server.url]}, "outputs": str(tmp_path)}
        mine = audit(tmp_path / "mine.json", 0.9, "served:judge@unknown")
        check_config(Config.model_validate(values | {"judge": {"audit": str(mine)}}))
        for name, judge in {
            "another model": {"audit": str(audit(tmp_path / "other.json"))},
            "min_agreement": {"audit": str(mine), "min_agreement": 0.95},
        }.items():
            with pytest.raises(ConfigError, match=name):
                check_config(Config.model_validate(values | {"judge": judge}))
