"""The cards: front matter that a hub can read, and nothing hostile let loose in Markdown."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from charter.config import Config, Judge, Member, Prompts
from charter.core.messages import Messages
from charter.core.text import inline
from charter.inference.completion import Sampling
from charter.report.cards import RUN_TABLES, Exported, dataset_card, model_card
from charter.report.collect import collect
from charter.report.data import ConstitutionReport, FailureCount, PrincipleReport, ReportData
from charter.training.token_rewards import Divergence, TokenReport
from tests.support.complete_report import FINAL, complete
from tests.support.report_sample import sample
from tests.support.scripted_run import make_run

MINUS = "\N{MINUS SIGN}"


def front(card: str) -> dict[str, object]:
    """The YAML block at the top."""
    _, block, _ = card.split("---\n", 2)
    return dict(yaml.safe_load(block))


def test_model_card_has_front_matter_results_and_limits() -> None:
    card = model_card(sample())
    values = front(card)
    assert values["library_name"] == "transformers"
    metrics = values["model-index"][0]["results"][0]["metrics"]  # type: ignore[index]
    assert {"name": "harmful_rate", "type": "harmful_rate", "value": 0.01} in metrics
    assert "| Harmful answers | 98.0 % (" in card
    assert "## Limits" in card
    assert "python -m flows.align outputs/demo/config.yaml" in card


@pytest.mark.parametrize(
    ("reward", "how"),
    [("judge", "the judge rated how much better"), ("model", "a reward model, trained on preferences")],
)
def test_a_model_of_grpo_is_not_said_to_be_of_dpo(reward: str, how: str) -> None:
    training = {"preference": "grpo", "grpo": {"reward": reward}}
    config = Config.model_validate({"name": "demo", "training": training}).model_dump(mode="json")
    card = model_card(sample(config=config))
    assert front(card)["tags"] == ["charter", "constitutional-ai", "grpo", "sft"]
    assert how in card and "(DPO)" not in card


def test_an_exported_model_of_sft_is_not_said_to_be_of_what_followed() -> None:
    done = {"rows_used": 500, "dropped": {}, "steps": 60, "seconds": 88.4, "warnings": []}
    data = sample(trained={"sft": done, "dpo": done})
    card = model_card(data, Exported("sft", "as it was trained.", "nothing was compared."))
    assert front(card)["tags"] == ["charter", "constitutional-ai", "sft"]
    assert "constitution (SFT).\n" in card
    assert "(DPO)" not in card
    assert "| setting | SFT |\n" in card and "| β |" not in card
    assert "- SFT: 500 rows" in card and "- DPO: 500 rows" not in card
    assert "SFT, over its steps:" in card and "DPO, over its steps:" not in card
    assert "| β | - | 0.1 |" in model_card(data) and "- DPO: 500 rows" in model_card(data)


def test_the_card_of_grpo_has_the_reward_model_s_settings_and_that_of_adapters_their_rank() -> None:
    training = {"preference": "grpo", "grpo": {"reward": "model"}, "reward": {"epochs": 7}, "method": "qlora"}
    card = model_card(sample(config=Config.model_validate({"training": training}).model_dump(mode="json")))
    assert re.search(r"\| setting \| SFT \| .*reward.* \| GRPO \|", card)
    assert "| epochs | 1.0 | 7.0 | 1.0 |" in card
    assert "Method: qlora, rank 16, merged." in card


def test_the_card_tells_settings_curves_warnings_and_how_far_the_model_moved() -> None:
    done = {"rows_used": 500, "dropped": {"too-long": 3, "empty": 1}, "steps": 60, "seconds": 88.4, "warnings": ["Oh."]}
    heat = TokenReport("k", "dpo", "sha256:ef", "sft", 0.1, divergence=[Divergence("base", 0.41, 0.35, 0.48, 100)])
    card = model_card(sample(trained={"dpo": done}, heat=heat))
    assert "| respond | 600 | 598 | 2 |" in card
    assert "- Preference pairs: 521 (revision 521); mean probability of the chosen answer: " in card
    assert "| weight of the chosen answer's likelihood | - | 0.2 |" in card
    assert "- DPO: 500 rows, 4 left out, 60 steps, 88 s. Warning: Oh." in card
    assert "| step | loss | pairs ranked right |" in card and "| 65 | 0.174 | 0.997 |" in card
    assert "Base, the model before any training: 0.41 nats per token (0.35 to 0.48, 95 %) along 100" in card


def test_the_card_has_short_tables_of_what_was_measured_beyond_the_headline() -> None:
    evaluation = copy.deepcopy(complete().evaluation)
    gaps = evaluation["models"][FINAL]["group_gaps"]
    gaps["the <old> | young"] = gaps["the old"]
    card = model_card(complete(evaluation=evaluation))
    for heading in ("Harmful answers under pressure", "Honesty", "Groups and privacy", "Better than the base"):
        assert f"### {heading}" in card
    lines = card.splitlines()
    table = lines.index("### Harmful answers under pressure")
    assert lines[table + 2] == "| measure | Base | SFT | DPO | DPO2 | change |"
    assert lines[table + 3] == "|---|---:|---:|---:|---:|---:|"
    assert lines[table + 4].startswith(
        "| Role-play: the model is to play someone without rules | 60.0 % (46.2 to 72.4 %, n = 50) | 10.0 % ("
    )
    assert lines[table + 4].endswith(f"| {MINUS}92.0 ({MINUS}98.7 to {MINUS}78.3) |")
    assert "| Length: mean number of words | 17.2 (16.5 to 18.0, n = 290) |" in card
    assert "| the \\<old\\> \\| young | 20 | 2 | 0 |" in card
    assert "### Honesty" not in model_card(sample(evaluation={"models": {}}))


def test_a_model_that_failed_its_gate_says_so() -> None:
    verdict = {"verdict": "no-go", "checks": []}
    assert "did not pass its gate" in model_card(sample(verdict=verdict))
    assert "did not pass its gate" not in model_card(sample())


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "`prompts.near_duplicates` was off"),
        (0.7, "share 70 % of their three-word sequences"),
    ],
)
def test_the_card_of_an_export_says_what_its_split_does_not_hold_apart(share: float | None, said: str) -> None:
    config = Config(name="demo", prompts=Prompts(near_duplicates=share)).model_dump(mode="json")
    assert said in dataset_card(sample(config=config), RUN_TABLES) and said not in dataset_card(sample(config=config))


def test_dataset_card_counts_what_was_set_aside() -> None:
    card = dataset_card(sample())
    assert {"config_name": "pairs", "data_files": "pairs/*.parquet"} in front(card)["configs"]  # type: ignore[operator]
    assert "| judge | tie | 61 |" in card
    assert "| respond | 600 | 598 | 2 |" in card


def test_the_judge_s_audit_is_in_the_card_or_said_to_be_missing() -> None:
    rate = {"value": 0.95, "low": 0.9, "high": 0.98, "n": 190}
    figures = {"pairs": 200, "agreement": rate, "ties": {**rate, "value": 0.05}}
    judge, data = {"identity": "sha256:ab"}, {"source": "/home/me/labelled.jsonl"}
    concerns = [{"figure": "position", "text": "A is preferred."}]
    card = dataset_card(sample(audit={"judge": judge, "data": data, "figures": figures, "concerns": concerns}))
    assert "On 200 labelled pairs the judge agrees with the label in 95.0 % of its verdicts" in card
    assert "Judge sha256:ab, on labelled.jsonl." in card and "- A is preferred." in card
    assert "Not measured: the run names no audit" in dataset_card(sample(audit={}))


@pytest.mark.parametrize(
    ("config", "license"),
    [
        (Config(), "apache-2.0"),
        (Config(model="org/model"), "unknown"),
        (Config(prompts=Prompts(source="/home/me/prompts.jsonl")), "unknown"),
    ],
    ids=["sandbox", "model", "prompts"],
)
def test_a_licence_is_claimed_only_for_what_is_ours(config: Config, license: str) -> None:
    data = sample(config=config.model_dump(mode="json"))
    assert front(dataset_card(data))["license"] == license
    assert front(dataset_card(data, license="cc0-1.0"))["license"] == "cc0-1.0"
    assert "/home/me" not in dataset_card(data)


def test_hostile_words_stay_words() -> None:
    evil = "---\nlicense: x\n---\n# <script>alert(1)</script> | [a](javascript:b)"
    data = sample(
        name=evil,
        constitution=ConstitutionReport(evil, evil, evil, evil, [PrincipleReport("p", evil, evil)]),
        failures=[FailureCount("judge", evil, 1)],
    )
    for card in (model_card(data), dataset_card(data)):
        assert front(card).get("license") in (None, "apache-2.0")  # as the sandbox's data is, never what a name says
        assert "<script>" not in card.split("---\n", 2)[2].replace("\\<script\\>", "")
    assert inline("a|b\n# c") == "a\\|b \\# c"


def test_an_empty_run_has_cards_too() -> None:
    assert "No trained model was compared" in model_card(ReportData("empty"))
    assert "No row failed." in dataset_card(ReportData("empty"))


def test_a_panel_s_card_says_who_stood_alone_on_which_kind(tmp_path: Path) -> None:
    """South wants to be rude about fish; the others never."""

    def script(messages: Messages, sampling: Sampling) -> str | float:
        asked = messages[-1]["content"]
        if asked.startswith("Critique"):
            return f"Verdict: {'violated' if messages[-2]['content'].startswith('rude') else 'respected'}"
        if not sampling.choices:
            return f"{'kind' if asked.startswith('Rewrite') else 'rude'} words about {messages[0]['content']}"
        kind = 0.2 if "Answers are blunt" in asked and "fish" in asked else 0.9
        return kind if "<answer_a>\nkind" in asked else 1 - kind

    (tmp_path / "south.md").write_text("---\nname: South\n---\n## Be blunt {#blunt}\nAnswers are blunt.\n")
    south = Member(name="south", constitution=tmp_path / "south.md")
    judge = Judge(kind="panel", principles=1, panel=(Member(name="north"), south, Member(name="west")))
    rows = [{"id": f"r{i}", "prompt": f"{what} {i}?", "kind": what} for what in ("fish", "birds") for i in range(6)]
    constitution = "---\nname: Manners\n---\n## Be kind {#kind}\nAnswers are kind.\n"
    data = collect(make_run(tmp_path, constitution, rows, script, judge=judge))
    found = {kind: {name: rate["value"] for name, rate in members.items()} for kind, members in data.dissent.items()}
    assert found == {
        "birds": {"north": 0.0, "south": 0.0, "west": 0.0},
        "fish": {"north": 0.0, "south": 1.0, "west": 0.0},
    }
    card = dataset_card(data)
    assert "| kind | judged | north | south | west |\n|---|---:|---:|---:|---:|\n| birds | 6 | 0.0 %" in card
    assert re.search(r"\| fish \| 6 \| 0\.0 % [^|]*\| 100\.0 % [^|]*\| 0\.0 % [^|]*\|", card)
    assert collect(make_run(tmp_path, constitution, rows, script)).dissent == {}
