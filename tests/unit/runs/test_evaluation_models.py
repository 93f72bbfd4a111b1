"""Which models an evaluation asks, and who grades."""

from pathlib import Path

import pytest

from charter.config import Config, Evaluation, Judge, Probes, Serving
from charter.core.errors import ConfigError
from charter.runs.evaluation_models import check_evaluation_models, evaluation_models
from charter.sandbox import MODEL

OWN = Evaluation(source="own.jsonl")
SERVED = Serving(base_urls=("http://127.0.0.1:1/v1",), model_name="mine")


def test_a_model_and_its_base_are_each_served_as_they_are_named() -> None:
    found = evaluation_models(Config(serving=SERVED), "sandbox")
    assert list(found) == ["base", "model"]
    assert found["model"][1].base_urls == SERVED.base_urls
    assert found["base"] == (str(MODEL), Serving())


def test_a_base_may_be_the_address_of_a_server() -> None:
    model, serving = evaluation_models(Config(serving=SERVED), "http://127.0.0.1:2/v1")["base"]
    assert (model, serving.base_urls, serving.model_name) == ("", ("http://127.0.0.1:2/v1",), None)


@pytest.mark.parametrize(
    ("base", "named", "key"),
    [
        ("http://127.0.0.1:2/v1", None, "MY_KEY"),
        ("http://elsewhere:2/v1", None, ""),
        ("http://elsewhere:2/v1", "ITS_KEY", "ITS_KEY"),
    ],
)
def test_a_base_elsewhere_gets_no_key_but_its_own(base: str, named: str | None, key: str) -> None:
    served = SERVED.model_copy(update={"api_key_env": "MY_KEY"})
    config = Config(serving=served, evaluation=Evaluation(base_api_key_env=named))
    assert evaluation_models(config, base)["base"][1].api_key_env == key


@pytest.mark.parametrize(
    ("judge", "base", "names"),
    [
        (Judge(), "sandbox", ["base", "model"]),
        (Judge(base_urls=("http://127.0.0.1:3/v1",)), None, ["model", "judge"]),
        (Judge(base_urls=("http://127.0.0.1:3/v1",)), "sandbox", ["base", "model", "judge"]),
    ],
    ids=["the base grades", "the judge grades", "the judge goes first"],
)
def test_somebody_else_grades(judge: Judge, base: str | None, names: list[str]) -> None:
    assert list(evaluation_models(Config(evaluation=OWN, judge=judge), base)) == names


@pytest.mark.parametrize(
    "evaluation", [OWN, Evaluation(grader="both"), Evaluation(probes=Probes(n_win=5))], ids=["judge", "both", "wins"]
)
def test_a_model_that_would_grade_itself_is_refused(evaluation: Evaluation) -> None:
    with pytest.raises(ConfigError, match=r"the model would grade its own answers\. Name judge\.model"):
        evaluation_models(Config(evaluation=evaluation), None)


def test_a_dataset_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "run" / "prompts").mkdir(parents=True)
    with pytest.raises(ConfigError, match="name=run-evaluated"):
        check_evaluation_models(Config(name="run", outputs=tmp_path))
