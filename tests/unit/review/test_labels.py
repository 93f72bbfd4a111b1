"""Labels before people: who is shown, what an answer does to the data, and that every pair is accounted for."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from charter.config import Config
from charter.core.errors import DataError, NotApproved
from charter.data.shards import read_rows
from charter.pipeline.pair import in_sft_half
from charter.report.collect import collect
from charter.review.labels import apply_answers, show_labels
from charter.review.waiting import begin_waiting
from charter.runs.forms import LabelAnswers, ask_by_file, read_form, write_form
from charter.views.explain.story import read_story
from tests.support.reviewed_run import AGREED, make_labelled_run


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return make_labelled_run(tmp_path)


def rows(config: Config, name: str) -> dict[str, dict[str, Any]]:
    """Rows of the run by the id of their pair, or of their prompt."""
    return {row.get("pair_id") or row["row_id"]: row for row in read_rows(config.run_folder / name)}


def test_a_third_is_split_a_third_is_uncertain_and_the_rest_is_drawn_from_all(config: Config) -> None:
    labels = show_labels(config)
    assert Counter(shown.why for shown in labels.sample) == {"split": 4, "uncertain": 4, "random": 4}
    pairs, splits = rows(config, "pairs"), rows(config, "review")
    assert labels.pairs == len(pairs) and len(splits) == 60 - AGREED
    by_why = {why: [one.id for one in labels.sample if one.why == why] for why in ("split", "uncertain", "random")}
    assert set(by_why["split"]) <= set(splits) and set(by_why["random"]) <= set(pairs)
    others = pairs.keys() - {shown.id for shown in labels.sample}
    assert max(pairs[id]["p_chosen"] for id in by_why["uncertain"]) < min(pairs[id]["p_chosen"] for id in others)

    again = show_labels(config)
    assert (again.sample, again.text, again.question.about) == (labels.sample, labels.text, labels.question.about)
    text = (config.run_folder / "review.md").read_text()
    assert text == labels.text and all(f"| {shown.why} | `{shown.id}` |" in text for shown in labels.sample)
    header, first = (text.splitlines()[i] for i in (6, 8))
    assert header == "| request | chosen | rejected | p | why | id | kind | principles |"
    assert first.count(" | ") == header.count(" | ")
    assert first.startswith(f"| {labels.sample[0].pair['prompt'][0]['content']} | ")
    line = next(line for line in text.splitlines() if f"`{by_why['split'][0]}`" in line)
    assert "safe | bad Question" in line and "south 0.30" in line
    other_seed = show_labels(config.model_copy(update={"seed": 1}))
    assert [shown.id for shown in other_seed.sample] != [shown.id for shown in labels.sample]


def test_fewer_pairs_than_are_wanted_are_all_shown_once(tmp_path: Path) -> None:
    config = make_labelled_run(tmp_path, n=500)
    labels = show_labels(config)
    shown = [one.id for one in labels.sample]
    assert sorted(shown) == sorted([*rows(config, "pairs"), *rows(config, "review")])


def test_what_people_say_is_done_and_every_pair_is_accounted_for(config: Config) -> None:
    before, splits, learnt = (rows(config, name) for name in ("pairs", "review", "sft_data"))
    half = {id: in_sft_half(row["prompt"], config.training.sft_share) for id, row in splits.items()}
    to_pairs, other_pair = [id for id, sft in half.items() if not sft][:2]
    to_sft = next(id for id, sft in half.items() if sft)
    gone, turned, *_ = before
    labels = show_labels(config)
    answers = LabelAnswers(
        approve=True, by="Ada", min_margin=0.1025, drop=(gone,), flip=(turned, other_pair), keep=(to_pairs, to_sft)
    )
    begin_waiting(config, "review", [], {})
    count = apply_answers(config, labels, answers)

    after, failures = rows(config, "pairs"), rows(config, "failures")
    weak = {id for id, row in before.items() if row["p_chosen"] < 0.6025} - {gone, turned}
    assert 0 < len(weak) < len(before) - 2
    assert after.keys() == (before.keys() - weak - {gone}) | {to_pairs, other_pair}
    assert {id: row["reason"] for id, row in failures.items() if row["stage"] == "review"} == {
        gone: "dropped", **dict.fromkeys(weak, "under-margin")
    }  # fmt: skip
    assert (count.rows_in, count.rows_out, count.failed) == (len(before) + 3, len(after) + 1, len(weak) + 1)
    same = after.keys() - {turned, to_pairs, other_pair}
    assert all(after[id] == before[id] for id in same)

    old, new = before[turned], after[turned]
    assert (new["chosen"], new["rejected"]) == (old["rejected"], old["chosen"])
    assert (new["p_chosen"], new["judge_kind"], old["judge_kind"]) == (old["p_chosen"], "people", "panel")
    assert new["p_by_member"] == [1 - p for p in old["p_by_member"]]
    assert [after[id]["chosen"][:4] for id in (to_pairs, other_pair)] == ["safe", "bad "]
    assert after[other_pair]["p_chosen"] == pytest.approx(0.7)  # what the only member says who wants it so
    assert rows(config, "review").keys() == splits.keys() - {to_pairs, other_pair, to_sft}
    taught = rows(config, "sft_data")
    assert taught.keys() - learnt.keys() == {splits[to_sft]["row_id"]}
    assert taught[splits[to_sft]["row_id"]]["completion"] == "safe"
    assert read_story(config.run_folder, splits[to_pairs]["row_id"]).ended == ["pair", "failed"]

    record = json.loads((config.run_folder / "review.json").read_text())
    done = {"dropped": 1, "under-margin": len(weak), "flipped": 1, "settled": 3}
    assert (record["data"], record["done"], record["answers"]["by"]) == (labels.question.about, done, "Ada")
    assert not (config.run_folder / "waiting.json").exists()
    assert collect(config.run_folder).review == record


def test_answers_hold_for_the_data_that_was_looked_at_alone(config: Config) -> None:
    labels = show_labels(config)
    answers = LabelAnswers(approve=True, drop=(labels.sample[-1].id,))
    write_form(labels.question, answers)
    assert read_form(labels.question) == answers
    apply_answers(config, labels, answers)
    later = show_labels(config).question
    assert later.about != labels.question.about and read_form(later) is None
    with pytest.raises(DataError, match=rf"answers about '{labels.question.about}', and this is '{later.about}'"):
        ask_by_file(later)


def test_pairs_that_are_not_approved_stay_as_they_are(config: Config) -> None:
    before = rows(config, "pairs")
    begin_waiting(config, "review", [], {})
    with pytest.raises(NotApproved, match=r"run 'run': not approved by Ada: too rude\. Change .*review\.yaml"):
        apply_answers(config, show_labels(config), LabelAnswers(approve=False, by="Ada", comment="too rude"))
    assert rows(config, "pairs") == before
    assert json.loads((config.run_folder / "review.json").read_text())["answers"]["approve"] is False
    assert (config.run_folder / "waiting.json").exists()  # a corrected answer continues from here


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"drop": ["r99/revision/0"]}, "no pair is called 'r99/revision/0'"),
        ({"drop": ["{pair}"], "flip": ["{pair}"]}, "'{pair}' named more than once among drop, flip and keep"),
        ({"keep": ["{pair}"]}, "'{pair}' in keep, which is only for pairs on which the panel split"),
        ({"min_margin": 0.5}, "min_margin: Input should be less than 0.5"),
        ({"approve": "perhaps"}, "approve: Input should be a valid boolean"),
        ({"dorp": []}, "dorp: Extra inputs are not permitted"),
    ],
    ids=["unknown", "twice", "no split", "margin", "approve", "field"],
)
def test_a_wrong_answer_is_refused_with_what_is_wrong(config: Config, answers: dict[str, Any], message: str) -> None:
    question, pair = show_labels(config).question, next(iter(rows(config, "pairs")))
    said = {"approve": True} | answers
    text = json.dumps({"about": question.about, **said}).replace("{pair}", pair)  # JSON is YAML
    question.path.write_text(text)
    with pytest.raises(DataError) as refused:
        read_form(question)
    assert str(refused.value).startswith(f"review '{question.path}': ")
    assert message.replace("{pair}", pair) in str(refused.value)


def test_the_form_is_written_once_and_says_what_each_field_is(config: Config) -> None:
    question = show_labels(config).question
    told = str(ask_by_file(question))
    assert told == (
        f"review of run 'run': 12 of {len(rows(config, 'pairs')) + 20} labels wait for people to look at them. Read "
        f"{config.run_folder}/review.md, fill in {question.path}, and run the same command again."
    )
    form = question.path.read_text()
    assert f"about: '{question.about}'" in form and "approve: null\n" in form and "drop: []\n" in form
    assert all(f"# {field.description}"[:60] in form for field in LabelAnswers.model_fields.values())
    assert read_form(question) is None
    question.path.write_text(form.replace("approve: null", "approve: true").replace("drop: []", "drop: [x]"))
    assert str(ask_by_file(question)) == told and "drop: [x]" in question.path.read_text()  # nothing is written over
