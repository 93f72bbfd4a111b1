"""What the run does with the judge that its configuration names."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from charter.config import Config, Judge, Member, Prompts, Serving
from charter.constitution import load_kept_constitution
from charter.core.errors import ConfigError, ConstitutionError
from charter.core.messages import Message, Messages
from charter.data.shards import count_rows, read_rows
from charter.inference import EngineSpec
from charter.inference.completion import Completion, Sampling
from charter.inference.session import Session
from charter.pipeline.judge import judge_candidates
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.roles import generation_models
from charter.pipeline.sequence import stages_of
from charter.pipeline.shards import run_stage
from charter.runs.folder import start_run
from charter.runs.preflight import check_config
from charter.sandbox import MODEL
from charter.testing.null_server import NullServer, run_null_server
from tests.support.judge_scripts import candidate, context

LAW = "---\nname: {name}\n---\n## Privacy {{#privacy .harmless}}\nKeep secrets of {name}.\n"


def every_kind(messages: Messages, sampling: Sampling) -> float | str | Completion:
    """Prefers what is safe, whatever it is asked."""
    asked = messages[-1]["content"]
    letter = "A" if "<answer_a>\nsafe" in asked else "B"
    if len(sampling.choices) == 10:
        safe = "<answer>\nsafe" in asked
        return Completion("9", "stop", 1, 1, choice_probs=tuple(float(n == (9 if safe else 2)) for n in range(1, 11)))
    if sampling.choices and not sampling.choice_marker:
        return 0.9 if letter == "A" else 0.1
    if sampling.choice_marker:
        return f"Better: {letter}"
    return f"Verdict: {'violated' if messages[-2]['content'] == 'bad' else 'respected'}"


@pytest.mark.parametrize(
    ("kind", "p"),
    [("choice", 0.9), ("reasoned", 0.6), ("score", 0.9991), ("critic", 0.8)],
)
async def test_each_kind_labels_the_same_pair_in_its_own_way(kind: str, p: float) -> None:
    outcome = await judge_candidates([candidate()], context(every_kind)[0], Judge(kind=kind))
    (row,) = outcome.rows
    assert (row["chosen"], row["judge_kind"], row["judge_identity"]) == ("safe", kind, "m")
    assert row["p_chosen"] == pytest.approx(p, abs=1e-4)


@pytest.fixture
def panel(tmp_path: Path) -> Config:
    """A run with a panel, one of whose members has a constitution of its own."""
    for name in ("run", "south"):
        (tmp_path / f"{name}.md").write_text(LAW.format(name=name))
    members = (Member(name="north"), Member(name="south", constitution=tmp_path / "south.md"))
    judging = Judge(kind="panel", panel=members)
    law = tmp_path / "run.md"
    return Config(outputs=tmp_path, name="out", constitution=law, judge=judging, prompts=Prompts(n=5))


def test_a_run_keeps_the_constitutions_of_its_members(panel: Config, tmp_path: Path) -> None:
    start_run(panel)
    kept = sorted((tmp_path / "out" / "panel").iterdir())
    assert [path.name for path in kept] == ["south"]
    assert load_kept_constitution(kept[0]).principles[0].text == "Keep secrets of south."
    start_run(panel.model_copy(update={"judge": Judge()}))
    assert not (tmp_path / "out" / "panel").exists()


def opposed(messages: Sequence[Message]) -> str:
    """Answers are bad, revisions good; South wants the bad ones."""
    asked = messages[-1]["content"]
    if asked.startswith("Read a conversation"):
        good, other = ("A", "B") if "<answer_a>\ngood" in asked else ("B", "A")
        return other if "of south" in asked else good
    if asked.startswith("Critique"):
        return "Verdict: violated"
    return "good: I will not." if asked.startswith("Rewrite") else "bad: I will."


async def test_what_members_split_on_is_kept_for_people_and_never_trained_on(panel: Config, tmp_path: Path) -> None:
    started = start_run(panel)
    (tmp_path / "south.md").unlink()  # the run goes on with what it kept
    folder = panel.run_folder
    with run_null_server(NullServer(answer=opposed)) as server:
        spec = EngineSpec((server.url,), server.model_name, "m", str(tmp_path / "store.sqlite"))
        for stage in stages_of(panel):
            count = await run_stage(started.context({"base": spec}), stage, 0, Session())
    review, failures = list(read_rows(folder / "review")), list(read_rows(folder / "failures"))
    assert (count.rows_in, count.rows_out, count.failed) == (5, 0, 5)
    assert {row["row_id"] for row in review} == {row["row_id"] for row in read_rows(folder / "prompts")}
    assert {(row["row_id"], row["reason"]) for row in failures} == {(row["row_id"], "panel-split") for row in review}
    assert {tuple(row["principle_ids"]) for row in review} == {("privacy", "south/privacy")}
    assert [count_rows(folder / name) for name in ("pairs", "sft_data")] == [0, 0]


def test_a_member_without_a_constitution_to_read_is_refused(panel: Config, tmp_path: Path) -> None:
    (tmp_path / "south.md").unlink()
    for use in (check_config, lambda config: judge_of(config.judge)):
        with pytest.raises(ConstitutionError, match=r"south\.md"):
            use(panel)


def test_a_tag_that_no_principle_of_a_member_has_is_refused(panel: Config, tmp_path: Path) -> None:
    (tmp_path / "south.md").write_text(LAW.format(name="south").replace("harmless", "kind"))
    tagged = panel.model_copy(update={"judge": panel.judge.model_copy(update={"tags": ("harmless",)})})
    with pytest.raises(ConfigError, match=r"tags \['harmless'\]: no principle of 'south'"):
        check_config(tagged)


OWN = ("http://127.0.0.1:9/v1",)


@pytest.mark.parametrize(
    ("config", "judge"),
    [
        (Config(), None),
        (Config(judge=Judge(model="sandbox")), None),
        (Config(model="org/big", judge=Judge(model="sandbox")), (str(MODEL), (), None)),
        (Config(serving=Serving(base_urls=OWN), judge=Judge(model="sandbox")), (str(MODEL), (), None)),
        (Config(judge=Judge(base_urls=OWN, model="wise")), ("wise", OWN, "wise")),
        (Config(judge=Judge(base_urls=OWN)), ("", OWN, None)),
    ],
    ids=["the run's own", "the same", "another", "beside a server", "at a server by name", "at a server"],
)
def test_the_judge_s_model_may_be_another_one(config: Config, judge: tuple[str, list[str], str | None] | None) -> None:
    found = generation_models(config)
    assert found["base"][1] == config.serving
    if judge is None:
        assert list(found) == ["base"]
    else:
        model, serving = found["judge"]
        assert (model, serving.base_urls, serving.model_name) == judge
