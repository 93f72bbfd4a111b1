"""The headline, as a sentence, as text for 80 columns, and as Markdown."""

from dataclasses import replace

from charter.config import Gate
from charter.core.statistics.intervals import mcnemar, newcombe, wilson
from charter.evaluation.gate import AcceptedModel, decide
from charter.evaluation.measures import evaluate_models
from charter.evaluation.records import ModelAnswers
from charter.report.headline import headline_markdown, headline_sentence, headline_text, verdict_sentence
from charter.report.page import render_report
from tests.support.report_sample import answers, sample


def test_the_text_fits_a_terminal() -> None:
    evaluation = evaluate_models({"base": answers(0.98, 0, 0, 0.99), "dpo": answers(1, 1, 1, 0)})
    lines = headline_text(evaluation, decide(evaluation, Gate()).to_dict()).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["Base", "98.0", "(96-99)", "0.0", "(0-2)", "0.0", "(0-4)", "99.0", "(96-100)"]
    assert "verdict: no-go" in lines
    assert any(line.startswith("  harmful_rate: 100.0 % of 400") for line in lines)


def test_markdown_holds_every_reason_and_measure() -> None:
    data = sample()
    text = headline_markdown(data.evaluation, data.verdict)
    assert text.startswith("**Verdict: go**\n\n- passed: 1.0 % of 400 harmful requests")
    assert "| Harmful answers | 98.0 % (96.1 to 99.0 %) | 4.2 % (2.7 to 6.7 %) | 1.0 % (0.4 to 2.5 %) |" in text
    minus = "\N{MINUS SIGN}"
    assert f"| change, in points | SFT {minus} Base | DPO {minus} Base | DPO {minus} SFT |" in text
    assert f"| Harmful answers | {minus}93.8 ({minus}95.8 to {minus}90.7), p \\< 0.001 |" in text


def test_changes_stand_under_the_table_with_their_paired_test() -> None:
    lines = headline_text(sample().evaluation).splitlines()
    minus = "\N{MINUS SIGN}"
    assert max(map(len, lines)) <= 80
    (change,) = [line for line in lines if line.startswith(f"DPO {minus} Base")]
    assert change.split()[3:7] == [f"{minus}97.0", "p", "<", "0.001"]


def test_the_model_accepted_last_stands_beside_the_run_s_own() -> None:
    data, minus = sample(), "\N{MINUS SIGN}"
    better = newcombe(wilson(20, 400), wilson(4, 400))
    same = mcnemar([False] * 200, [False] * 200)
    measures = ("benign_refusal_rate", "borderline_refusal_rate", "accuracy")
    accepted = AcceptedModel("spring-0123456789ab", {"harmful_rate": better, **dict.fromkeys(measures, same)})
    verdict = decide(data.evaluation, Gate(by="value"), accepted=accepted).to_dict()
    lines = headline_text(data.evaluation, verdict).splitlines()
    assert max(map(len, lines)) <= 80
    (change,) = [line for line in lines if line.startswith("vs accepted")]
    assert change.split()[2:7] == [f"{minus}4.0", "+0.0", "p", "=", "1.000"]
    assert "accepted: spring-0123456789ab; without p: on other requests" in lines
    text = headline_markdown(data.evaluation, verdict)
    assert f"| DPO {minus} accepted |" in text and "The accepted model is spring-0123456789ab." in text
    assert f"| {minus}4.0 ({minus}6.7 to {minus}1.7), on other requests |" in text
    page = render_report(replace(data, verdict=verdict))
    assert f"DPO {minus} accepted" in page and "The accepted model is spring-0123456789ab." in page


def test_too_few_requests_are_said_beside_the_verdict() -> None:
    data = sample()
    verdict = decide(data.evaluation, Gate()).to_dict()
    assert "verdict: no-go\n  Not enough data: 135 more benign requests and" in headline_text(data.evaluation, verdict)
    text = headline_markdown(data.evaluation, verdict)
    assert text.startswith("**Verdict: no-go** Not enough data: 135 more benign requests and")
    assert "- **undecided**: 0.5 % of 200 benign requests" in text


def test_the_sentence_says_what_changed() -> None:
    assert headline_sentence(sample().evaluation, "“Harmless”", "dpo") == (
        "Trained under “Harmless”, the model helps with 1.0 % of the harmful requests that it was asked; before,"
        " it helped with 98.0 % of them. It turns away 3.0 % of those that only look harmful and 0.5 % of the harmless"
        " ones."
    )
    best = evaluate_models({"base": answers(1, 0, 0, 1), "dpo": answers(0, 0, 0, 1)})
    assert headline_sentence(best, "", "dpo") == (
        "Trained under its constitution, the model helps with none of the harmful requests that it was asked; before,"
        " it helped with all of them. It turns away none of those that only look harmful and none of the harmless ones."
    )


def test_the_verdict_is_said_at_the_top_with_its_reason() -> None:
    data = sample()
    begin = "By the limits that were set for it, the model may"
    assert verdict_sentence(data.verdict) == f"{begin} be released (go). Every limit is kept, as measured."
    refused = decide(data.evaluation, Gate()).to_dict() | {"sign_off": "Nobody signed it."}
    said = verdict_sentence(refused)
    assert said.startswith(f"{begin} not be released (no-go). Not enough data: 135 more benign requests")
    assert said.endswith("needed. Nobody signed it.")
    assert verdict_sentence({}) == ""
    header = render_report(data).split("</header>")[0]
    assert "helps with 1.0 % of the harmful requests" in header and verdict_sentence(data.verdict) in header


def test_the_sentence_claims_nothing_without_data() -> None:
    assert headline_sentence({}, "", "dpo") == "No trained model was compared with its base in this run."
    nothing = evaluate_models({"base": ModelAnswers([]), "dpo": ModelAnswers([])})
    assert "nothing can be said about harm" in headline_sentence(nothing, "", "dpo")
    assert "no data" in headline_text(nothing)
