"""Token reports: readable without colour, escaped, folded, and small."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from charter.report.collect import collect
from charter.report.data import ReportData
from charter.report.page import render_report
from charter.report.token_view import carriers, shade_answer, shade_pairs
from charter.training.token_rewards import (
    Divergence,
    PairRewards,
    TokenReport,
    TokenRewards,
    read_token_report,
    write_token_report,
)
from tests.support.html_page import HOSTILE, Page, skeleton


def heat(tokens: tuple[str, ...] = ("I", " will", " not", "\n"), repeat: int = 1, **changes: object) -> TokenReport:
    """One training pair and one held-out one, with the same tokens."""
    rewards = [0.01, 0.02, 0.6, -0.3] * repeat
    chosen = TokenRewards(list(tokens) * repeat, rewards, sum(rewards), len(rewards))
    rejected = TokenRewards(list(tokens) * repeat, [-r for r in rewards], -sum(rewards) - 0.5, len(rewards) + 7)
    pair = PairRewards("largest margin of 12 training pairs", tokens[0], chosen, rejected, "training", tokens[0], 0.9)
    values = {
        "key": "k",
        "model": "dpo",
        "identity": "sha256:ef56",
        "reference": "sft",
        "beta": 0.1,
        "scored": 12,
        "ranked_right": 11,
        "pairs": [pair, dataclasses.replace(pair, how=tokens[0], source="held-out", p_chosen=None)],
        "divergence": [Divergence("sft", 0.0312, 0.025, 0.04, 100), Divergence("base", 0.41, 0.35, 0.48, 100)],
    }
    return TokenReport(**(values | changes))  # type: ignore[arg-type]


def part(html: str) -> str:
    return html[html.index('<section id="tokens">') :].split("</section>")[0]


def text(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", part(html)).split())


def test_rewards_are_shaded_on_one_scale_and_the_strongest_carry_their_number() -> None:
    side = shade_answer(TokenRewards(["a", "b", "c", "d", "e"], [0.3, -0.9, 0.05, 0.5, 2.0], 1.95, 6), 0.9)
    assert [token.shade for token in side.tokens] == [1, -3, 0, 2, 3]
    assert [token.text for token in side.tokens if token.numbered] == ["b", "d", "e"]
    assert (side.hidden, side.hidden_reward) == (1, pytest.approx(0.0))
    assert shade_pairs(heat())[1] == 0.6
    assert shade_pairs(heat(pairs=[])) == ([], 0.0)


def test_a_preference_is_carried_by_what_gained_and_by_what_lost() -> None:
    pair = PairRewards(
        "how", "p", TokenRewards(["no", "yes"], [0.5, -0.2], 0.3, 2), TokenRewards(["sure", "x"], [-0.7, 0.1], -0.6, 2)
    )
    assert [(c.text, c.chosen, c.gain) for c in carriers(pair)] == [("sure", False, 0.7), ("no", True, 0.5)]


def test_the_page_names_the_reference_and_says_it_in_words_and_numbers() -> None:
    html = render_report(ReportData("run", heat=heat()))
    said = text(html)
    assert "how much more likely DPO finds it than SFT does, the model that its training started from" in said
    assert "Of 12 training pairs drawn at random, 11 have a positive margin" in said
    assert "SFT, its reference 0.0312 0.025 to 0.04 100" in said
    assert "Base, the model before any training 0.41 0.35 to 0.48 100" in said
    assert '<span class="tp3" title="+0.60"> not</span><sup>+0.60</sup>' in part(html)
    assert '<span class="tn2" title="\N{MINUS SIGN}0.30">\n</span>' in part(html)
    assert "Chosen: implicit reward +0.33" in said and "DPO: implicit reward +0.33" in said
    assert "\N{OPEN BOX}not Chosen, more likely now +0.60" in said
    assert "… 7 more tokens, together \N{MINUS SIGN}0.50" in said
    assert '<a href="#tokens">Token by token</a>' in html


def test_pairs_are_folded() -> None:
    page = Page(render_report(ReportData("run", heat=heat())))
    folded = [attributes for tag, attributes in page.tags if tag == "details"]
    assert len(folded) == 2 and not any("open" in attributes for attributes in folded)


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_tokens_are_only_ever_text(hostile: str) -> None:
    html = render_report(ReportData("run", heat=heat((hostile,) * 4, model=hostile, reference=hostile)))
    assert skeleton(html) == skeleton(
        render_report(ReportData("run", heat=heat(("word",) * 4, model="m", reference="m")))
    )
    assert "<script>" not in html


def test_a_look_that_failed_says_why() -> None:
    html = render_report(ReportData("run", heat=heat(pairs=[], problem="no <memory> left")))
    assert "Not computed: no &lt;memory&gt; left" in part(html)


def test_long_answers_leave_the_page_small() -> None:
    pairs = heat(repeat=75).pairs * 4  # eight pairs of two answers of 300 tokens
    assert len(render_report(ReportData("run", heat=heat(pairs=pairs))).encode()) < 1_500_000


def test_it_is_in_the_json_and_comes_back() -> None:
    data = ReportData("run", heat=heat())
    written = json.loads(data.to_json())
    assert written["heat"]["pairs"][0]["chosen"]["rewards"][2] == 0.6
    assert ReportData.from_dict(written) == data
    assert render_report(written) == render_report(data)


def test_a_run_s_look_is_read_unless_it_is_of_another_model(tmp_path: Path) -> None:
    write_token_report(tmp_path / "tokens", heat())
    assert read_token_report(tmp_path / "tokens") == heat() == collect(tmp_path).heat
    assert collect(tmp_path, models={"dpo": "sha256:ef56"}).heat == heat()
    assert collect(tmp_path, models={"dpo": "sha256:other"}).heat is None
    (tmp_path / "tokens" / "tokens.json").write_text('{"key": "half')
    assert collect(tmp_path).heat is None
