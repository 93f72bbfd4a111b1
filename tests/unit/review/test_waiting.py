"""A run that waits goes on from where it was, unless something that it comes out of is another one now."""

import json
from pathlib import Path

import pytest

from charter.config import Config, Prompts
from charter.inference.engine import EngineSpec
from charter.pipeline.counts import StageCount
from charter.review.waiting import begin_waiting, end_waiting, waiting

COUNTS = [StageCount("respond", 3, 2, 1, 0.5, 3, 0, 30, 20)]
CONSTITUTION = "---\nname: constitution\n---\n\n## Be kind\n\nAnswers are kind.\n"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "constitution.md").write_text(CONSTITUTION)
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "Why?"}) + "\n")
    (tmp_path / "run").mkdir()
    prompts = Prompts(source=str(tmp_path / "prompts.jsonl"))
    config = Config(outputs=tmp_path, constitution=tmp_path / "constitution.md", prompts=prompts)
    asked = EngineSpec(("http://127.0.0.1:9/v1",), "m", "sha256:1", "store", merged="sha256:2")
    begin_waiting(config, "review", COUNTS, {"base": asked})
    return config


def test_what_was_done_is_found_and_nobody_is_served(config: Config) -> None:
    found = waiting(config, "review")
    assert found is not None and found.counts == COUNTS
    assert found.models == {"base": EngineSpec((), "m", "sha256:1", config.store_url, merged="sha256:2")}
    assert waiting(config, "sign-off") is None
    end_waiting(config)
    assert waiting(config, "review") is None


def test_a_changed_constitution_prompt_or_setting_begins_anew(config: Config, tmp_path: Path) -> None:
    assert waiting(config.model_copy(update={"seed": 1}), "review") is None
    (tmp_path / "constitution.md").write_text(CONSTITUTION + "\n<!-- a comment is no change -->\n")
    assert waiting(config, "review") is not None
    (tmp_path / "constitution.md").write_text(CONSTITUTION.replace("kind.", "blunt."))
    assert waiting(config, "review") is None
    (tmp_path / "constitution.md").write_text(CONSTITUTION)
    with (tmp_path / "prompts.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "How?"}) + "\n")
    assert waiting(config, "review") is None


def test_a_run_that_waits_for_a_signature_has_no_other_review_of_its_labels(config: Config, tmp_path: Path) -> None:
    begin_waiting(config, "sign-off", COUNTS, {})
    assert waiting(config, "sign-off") is not None
    (tmp_path / "run" / "review.yaml").write_text("approve: true\n")
    assert waiting(config, "sign-off") is None
