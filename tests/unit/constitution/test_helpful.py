from pathlib import Path

from charter.constitution import Constitution, Principle, load_constitution
from charter.constitution.helpful import SHIPPED, helpful_part
from charter.constitution.lint import lint

PRINCIPLES = (
    Principle("a", "A", "Do no harm.", ("harmless",)),
    Principle("b", "B", "Answer in full.", ("helpful",)),
    Principle("c", "C", "Be kind and useful.", ("harmless", "helpful")),
)


def test_the_principles_tagged_helpful_are_the_helpful_part() -> None:
    constitution = Constitution("constitution", "1", PRINCIPLES)
    part = helpful_part(constitution)
    assert [p.id for p in part.principles] == ["b", "c"]
    assert part.name == "constitution" and len(constitution.principles) == 3


def test_a_constitution_without_them_gets_a_shipped_one_on_needless_refusal() -> None:
    (shipped,) = helpful_part(Constitution("constitution", "1", PRINCIPLES[:1])).principles
    assert (shipped.id, shipped.tags) == ("charter-needless-refusal", ("helpful",))
    assert "does not refuse" in " ".join(shipped.text.split())
    assert shipped == load_constitution(SHIPPED).principles[0]
    assert lint(SHIPPED) == []


def test_its_id_is_no_other_constitution_s() -> None:
    for path in Path("constitutions").glob("*.md"):
        assert "charter-needless-refusal" not in {p.id for p in load_constitution(path).principles}
