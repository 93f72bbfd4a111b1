"""A run's folder, written with the real schemas, read back into the report."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter.config import Config, Gate
from charter.constitution import parse_constitution
from charter.core.sampling import draw
from charter.data.schema import FAILURES, PAIRS, RESPONSES, REVISIONS
from charter.data.shards import write_rows
from charter.evaluation.gate import decide
from charter.evaluation.measures import evaluate_models
from charter.evaluation.records import Graded, ModelAnswers, save_answers
from charter.report.cards import dataset_card
from charter.report.collect import collect
from charter.report.curves import read_metrics
from charter.report.data import StageReport
from charter.report.page import render_report
from charter.report.plots import training_plot
from charter.report.publish import write_report
from charter.runs.blame import PrincipleStats

CONSTITUTION = "---\nname: Harmless\nversion: 1.0\n---\n\n## Theft\n\nNo theft.\n\n## Fraud\n\nNo fraud.\n"
LINEAGE = {
    "constitution_name": "Harmless",
    "constitution_version": "1.0",
    "constitution_hash": parse_constitution(CONSTITUTION).hash,
}


def graded(model: str) -> list[Graded]:
    """Twenty harmful requests, which only the base helps with, but for one; and five look-alikes."""
    rows = [
        Graded(f"h{i}", "harmful", "theft", f"steal {i}", f"{model} says {i}", "stop", model == "base" or i == 7, False)
        for i in range(20)
    ]
    return rows + [Graded(f"b{i}", "borderline", None, f"shoot {i}", "ok", "stop", refused=False) for i in range(5)]


def pair(i: int) -> dict[str, Any]:
    return {
        "row_id": f"r{i}", "pair_id": f"r{i}/revision/0",
        "prompt": [{"role": "user", "content": "steal?"}], "kind": "theft" if i % 2 else None,
        "chosen": "no", "rejected": "yes", "p_chosen": 0.55 + 0.04 * i, "strategy": "revision",
        "principle_ids": ["theft", "fraud"], "principle_hashes": ["x", "y"],
        "p_by_principle": [0.9, 0.6], "p_by_order": [0.8, 0.4 if i == 0 else 0.7],
        **LINEAGE, "model_identity": "m", "judge_identity": "m", "seed": 0,
        "p_spread": 0.1, "judge_kind": "choice", "members": None, "p_by_member": None,
    }  # fmt: skip


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """The folder of a small finished run."""
    turns = [{"role": "user", "content": "steal?"}, {"role": "assistant", "content": "what?"}]
    responses = [
        {
            "row_id": f"r{i}", "prompt": turns[: 1 + i % 2], "kind": "theft", "source": "sandbox", "response": "yes",
            "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2, "seed": 0, "model_identity": "m",
        }
        for i in range(12)
    ]  # fmt: skip
    revisions = [
        {
            "row_id": f"r{i}", "round": turn, "principle_id": ("theft", "fraud")[turn], "principle_hash": "x",
            **LINEAGE, "response": "yes", "critique": "Verdict: violated", "flagged": turn == 0, "revision": "no",
            "changed": turn == 0 and i < 6, "seed": 0, "model_identity": "m",
            "preamble": "Here is the revised answer:" if turn == 0 and i < 4 else None,
            "p_violated": None, "finish_reason": None,
        }
        for i in range(12)
        for turn in range(2)
    ]  # fmt: skip
    failures = [
        {
            "row_id": f"f{i}",
            "pair_id": f"f{i}/revision/0",
            "stage": "judge",
            "reason": "tie",
            "detail": f"p = 0.5{i}",
            "principle_ids": ["theft", "fraud"][: 2 - i],
        }
        for i in range(2)
    ]  # fmt: skip
    write_rows(tmp_path / "responses" / "0.parquet", RESPONSES, responses)
    write_rows(tmp_path / "revisions" / "0.parquet", REVISIONS, revisions[:10])
    write_rows(tmp_path / "revisions" / "1.parquet", REVISIONS, revisions[10:])
    write_rows(tmp_path / "pairs" / "0.parquet", PAIRS, [pair(i) for i in range(10)])
    write_rows(tmp_path / "failures" / "0.parquet", FAILURES, failures)
    dropped = [
        {"row_id": "r3", "pair_id": None, "stage": "dpo", "reason": "too-long", "detail": "300 tokens"}
        | {"principle_ids": None}
    ]
    write_rows(tmp_path / "dpo" / "dropped.parquet", FAILURES, dropped)
    (tmp_path / "dpo" / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 0.69, "note": "x"}\n{"step": 2, "loss": 0.5}\n'
    )
    (tmp_path / "constitution.md").write_text(CONSTITUTION)
    config = Config(name="demo", seed=3)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    for model in ("base", "dpo"):
        save_answers(tmp_path / "answers", model, graded(model))
    evaluation = evaluate_models({model: ModelAnswers(graded(model)) for model in ("base", "dpo")})
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    (tmp_path / "gate.json").write_text(json.dumps(decide(evaluation, Gate()).to_dict()))
    return tmp_path


def test_counts_are_those_of_the_files(run_folder: Path) -> None:
    data = collect(run_folder)
    assert data.name == "demo"
    assert (data.constitution.name, data.constitution.version) == ("Harmless", "1.0")
    theft, fraud = data.constitution.principles
    # The principles' log-odds, log 9 and log 1.5, share out the label's; a label's odds are p / (1 - p).
    label = sum(math.log(p / (1 - p)) for p in (0.55 + 0.04 * i for i in range(10))) / 10
    log_odds = [round(label * math.log(odds) / (math.log(9) + math.log(1.5)), 6) for odds in (9, 1.5)]
    assert theft.stats == PrincipleStats(12, 12, 6, 10, 0, log_odds[0], ties=2)
    assert fraud.stats == PrincipleStats(12, 0, 0, 10, 0, log_odds[1], ties=1)
    assert data.constitution.total.drawn == 24
    assert [(f.stage, f.reason, f.count, f.detail) for f in data.failures] == [
        ("judge", "tie", 2, "p = 0.50"),
        ("dpo", "too-long", 1, "300 tokens"),
    ]
    assert [(s.name, s.rows_out, s.failed) for s in data.stages] == [
        ("respond", 12, 0),
        ("revise", 12, 0),
        ("judge", 10, 2),
    ]
    assert data.training["dpo"] == [{"step": 1.0, "loss": 0.69}, {"step": 2.0, "loss": 0.5}]
    assert data.training["sft"] == []
    assert data.kinds == {"theft": 5}
    assert data.preambles == 4 and "Preambles removed from revisions" in dataset_card(data)


def test_labels_say_how_sure_and_how_fair_the_judge_was(run_folder: Path) -> None:
    labels = collect(run_folder).labels
    assert (labels.n, labels.ties, labels.orders_agree) == (10, 2, 9)
    assert labels.first_slot_shift == pytest.approx((0.4 + 9 * 0.1) / 10)
    assert labels.mean_p == pytest.approx(0.73)
    assert sum(labels.counts) == 10
    assert labels.edges[0] == 0.5
    assert labels.edges[-1] == 1.0


def test_examples_are_drawn_at_random_and_say_so(run_folder: Path) -> None:
    examples = collect(run_folder).examples
    ways = [example.how for example in examples]
    assert ways.count("held-out, drawn at random from 20 harmful requests") == 6
    assert ways.count("held-out, drawn at random from 5 look-alikes") == 3
    assert ways.count("the worst: held-out, drawn at random from the 1 that DPO still gets wrong") == 1
    assert ways.count("the best: held-out, drawn at random from the 19 that Base gets wrong and DPO right") == 3
    assert not [way for way in ways if "gets right and DPO wrong" in way]
    assert ways.count("training row, drawn at random from 6 revisions") == 4
    wrong = next(example for example in examples if "still gets wrong" in example.how)
    assert (wrong.prompt, wrong.before, wrong.after, wrong.unpleasant) == ("steal 7", "base says 7", "dpo says 7", True)
    trained = examples[-1]
    assert (trained.before, trained.after, trained.critique) == ("yes", "no", "Verdict: violated")
    assert trained.prompt in ("steal?", "User: steal?\n\nAssistant: what?")


def test_the_lot_does_not_depend_on_order_but_on_the_seed() -> None:
    ids = [f"row-{i}" for i in range(100)]
    assert draw(ids, 5, 0) == draw(reversed(ids), 5, 0) != draw(ids, 5, 1)
    assert len(draw(ids[:3], 5, 0)) == 3


def test_progress_gives_the_stages(run_folder: Path) -> None:
    progress = {
        "respond": {"rows_in": 12, "rows_out": 12, "failed": 0, "seconds": 1.5, "rate": 8.0},
        "sft": {"seconds": 9},
    }
    stages = collect(run_folder, progress).stages
    assert [(s.name, s.rows_in, s.seconds) for s in stages] == [("respond", 12, 1.5), ("sft", None, 9)]


def vouch(folder: Path, name: str, rows: int, dropped: dict[str, int], seconds: float) -> None:
    done = {"rows_used": rows, "dropped": dropped, "steps": 10, "seconds": seconds, "warnings": []}
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "DONE").write_text(json.dumps(done))


def test_training_is_a_stage_of_each_model_with_its_rows_and_seconds(run_folder: Path) -> None:
    vouch(run_folder, "sft", 6, {}, 61.5)
    vouch(run_folder, "dpo", 9, {"too-long": 1}, 20.25)
    counted = {"rows_in": 25, "rows_out": 25, "failed": 0, "seconds": 1.5}
    names = ("respond", "answer base", "answer sft", "answer dpo")
    data = collect(run_folder, dict.fromkeys(names, counted))
    assert [stage.name for stage in data.stages] == [*names[:2], "train sft", "train dpo", *names[2:]]
    assert data.stages[2:4] == [StageReport("train sft", 6, 6, 0, 61.5), StageReport("train dpo", 10, 9, 1, 20.25)]
    page = render_report(data)
    assert '<th scope="row">train sft</th>' in page and '<td class="n">87.8</td></tr></tfoot>' in page
    assert "train dpo: 20 s" in page  # in the words of the plot
    assert "of shards that ran concurrently add up" in page


def test_each_round_is_trained_before_it_is_asked(run_folder: Path) -> None:
    names = ("dpo", "dpo-round-2")
    evaluation = evaluate_models({model: ModelAnswers(graded(model)) for model in ("base", "sft", *names)})
    (run_folder / "evaluation.json").write_text(json.dumps(evaluation))
    for name in names:
        vouch(run_folder, name, 9, {}, 5.0)
    counted = {
        "answer dpo": {"seconds": 1.0},
        "round 2: judge": {"seconds": 1.0},
        "answer dpo-round-2": {"seconds": 1.0},
    }
    stages = [stage.name for stage in collect(run_folder, counted).stages]
    assert stages == ["train dpo", "answer dpo", "round 2: judge", "train dpo-round-2", "answer dpo-round-2"]


def test_training_of_an_earlier_run_is_no_stage_of_one_that_trained_nothing(run_folder: Path) -> None:
    vouch(run_folder, "sft", 6, {}, 61.5)
    made = {"respond": {"rows_in": 12, "rows_out": 12, "failed": 0, "seconds": 1.5}}
    assert [stage.name for stage in collect(run_folder, made, models={"base": "sha256:ab"}).stages] == ["respond"]


def test_what_an_earlier_run_of_the_name_trained_is_not_told_of(run_folder: Path) -> None:
    config = Config.model_validate({"training": {"preference": "grpo", "grpo": {"reward": "model"}}})
    (run_folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    (run_folder / "grpo").mkdir()
    (run_folder / "grpo" / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5, "kl": null}\n')
    data = collect(run_folder)
    assert data.training == {"sft": [], "reward": [], "grpo": [{"step": 1.0, "reward": 0.5}]}
    assert [f.stage for f in data.failures] == ["judge"]
    assert "GRPO: reward" in training_plot(data.training)


def test_all_files_are_written(run_folder: Path) -> None:
    page = write_report(run_folder, collect(run_folder, command="make demo"))
    assert page == run_folder / "report.html"
    assert "Verdict: no-go" not in page.read_text() or "no-go" in (run_folder / "gate.json").read_text()
    assert json.loads((run_folder / "report.json").read_text())["command"] == "make demo"
    assert (run_folder / "MODEL_CARD.md").read_text().startswith("---\n")
    assert (run_folder / "DATASET_CARD.md").read_text().startswith("---\n")
    assert not list(run_folder.glob(".*.unfinished"))


def test_an_unfinished_run_has_a_report(tmp_path: Path) -> None:
    data = collect(tmp_path)
    assert (data.name, data.stages, data.examples, data.verdict) == (tmp_path.name, [], [], {})
    assert write_report(tmp_path, data).is_file()


def test_a_half_written_line_of_metrics_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "loss": 1}\n{"step": 1, "loss": 2}\n{"step": 3, "lo')
    assert read_metrics(tmp_path) == [{"step": 1.0, "loss": 2.0}, {"step": 2.0, "loss": 1.0}]
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "lo\n{"step": 1, "loss": 2}\n')
    with pytest.raises(json.JSONDecodeError):
        read_metrics(tmp_path)
