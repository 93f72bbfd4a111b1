"""Learning rates that are not set are chosen by step and method."""

import pytest

from charter.config import Config, Sft, Training


@pytest.mark.parametrize(
    ("method", "rates"),
    [("full", (1e-5, 1e-5, 1e-5, 1e-6)), ("lora", (2e-4, 1e-5, 1e-4, 1e-5)), ("qlora", (2e-4, 1e-5, 1e-4, 1e-5))],
)
def test_adapters_learn_faster(method: str, rates: tuple[float, ...]) -> None:
    training = Config.model_validate({"training": {"method": method}}).training
    assert tuple(training.settings_of(step).learning_rate for step in ("sft", "dpo", "reward", "grpo")) == rates


def test_what_is_set_stays() -> None:
    assert Training(method="lora", sft=Sft(learning_rate=3e-5)).settings_of("sft").learning_rate == 3e-5
    settings = Config.model_validate({"training": {"method": "lora", "sft": {"epochs": 2}}}).training.settings_of("sft")
    assert (settings.epochs, settings.learning_rate) == (2, 2e-4)


def test_a_run_s_config_does_not_keep_the_rate_of_another_method() -> None:
    kept = Config().model_dump(mode="json", by_alias=True)
    kept["training"]["method"] = "lora"
    assert Config.model_validate(kept).training.settings_of("sft").learning_rate == 2e-4
