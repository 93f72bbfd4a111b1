from pathlib import Path

import pytest

from charter.config import Judge, Member
from charter.core.messages import Messages
from charter.inference.completion import Sampling
from charter.pipeline.judge import judge_candidates
from charter.review.decisions import settled
from tests.support.judge_scripts import candidate, context

OPINIONS = {"north": 0.001, "south": 0.9, "east": 0.9}
"""Of the safe answer: their mean is over one half, that of their log-odds under it, two of three votes are for it."""


def opinion(messages: Messages, sampling: Sampling) -> float:
    asked = messages[-1]["content"]
    safe = next(p for name, p in OPINIONS.items() if f"of {name}." in asked)
    return safe if "<answer_a>\nsafe" in asked else 1 - safe


@pytest.mark.parametrize(
    ("combine", "label", "preferred", "p"),
    [("log-odds", (81 / 999) ** (1 / 3), "bad", 0.999), ("vote", 3 / 2, "safe", 2 / 3)],
)
async def test_a_split_is_settled_as_its_label_would_have_been(
    tmp_path: Path, combine: str, label: float, preferred: str, p: float
) -> None:
    for name in OPINIONS:
        (tmp_path / f"{name}.md").write_text(
            f"---\nname: {name}\n---\n\n## Law {{#constitution}}\n\nThe constitution of {name}.\n"
        )
    panel = tuple(Member(name=name, constitution=tmp_path / f"{name}.md") for name in OPINIONS)
    settings = Judge(kind="panel", panel=panel, principles=1, combine=combine)
    (split,) = (await judge_candidates([candidate()], context(opinion)[0], settings)).review
    assert split["p_last"] / (1 - split["p_last"]) == pytest.approx(label)
    pair, turned = settled(split), settled(split, flip=True)
    assert (pair["chosen"], pair["p_chosen"]) == (preferred, pytest.approx(p))
    assert (turned["rejected"], turned["chosen"] != preferred) == (preferred, True)
    assert "p_last" not in pair
