"""Rounds after the first: their folders and prompts, whose answers become pairs, and which model a run ends with."""

import asyncio
import json
from pathlib import Path

import pytest

from charter.config import Config, Judge, Member, Pairs, Strategies, Training, load_config
from charter.constitution import load_constitution, load_kept_constitution
from charter.data.shards import count_rows, read_rows
from charter.evaluation.measures import evaluate_models
from charter.evaluation.records import save_answers
from charter.inference import EngineSpec, connect
from charter.inference.identity import model_identity
from charter.inference.session import Session
from charter.pipeline.context import RunContext
from charter.pipeline.pair import in_sft_half
from charter.pipeline.shards import run_shards_here
from charter.runs.folder import reset_run_folder, shard_sizes, start_run
from charter.runs.manifest import write_manifest
from charter.runs.registry.promotion import promote
from charter.runs.rounds import Round, later_rounds, round_folders, start_round
from charter.runs.verdict import decide_and_save, read_answers
from charter.testing.null_server import NullServer, run_null_server
from tests.support.finished_run import answer, settings
from tests.support.judged_run import answers_of, make_judged_run

N = 24
BOTH = Pairs(strategies=Strategies(on_policy=1), answers_per_prompt=2)


def in_rounds(folder: Path, rounds: int = 2) -> Config:
    made = settings(folder, "http://127.0.0.1:1/v1", n=N)
    training = Training(rounds=rounds, sft_share=0.4)
    return made.model_copy(update={"training": training, "pairs": BOTH})


def test_there_are_as_many_rounds_as_the_config_asks_for(tmp_path: Path) -> None:
    config = in_rounds(tmp_path, rounds=3)
    second, third = later_rounds(config)
    assert (second.number, second.model, second.folder) == (2, "dpo-round-2", config.run_folder / "rounds" / "2")
    assert (third.number, third.model, third.folder) == (3, "dpo-round-3", config.run_folder / "rounds" / "3")
    assert second.config.store_url == third.config.store_url == config.store_url
    assert len({config.seed, second.config.seed, third.config.seed}) == 3
    assert list(later_rounds(config.model_copy(update={"training": Training()}))) == []


@pytest.fixture
def later(tmp_path: Path) -> Round:
    """The second round of a run, its folder begun."""
    config = in_rounds(tmp_path)
    start_run(config)
    (tmp_path / "law.md").unlink()  # the run has its own
    (second,) = later_rounds(config)
    start_round(config.run_folder, second)
    return second


def test_a_round_begins_with_the_prompts_of_the_pairs(later: Round) -> None:
    run = later.folder.parents[1]
    first, again = (list(read_rows(folder / "prompts")) for folder in (run, later.folder))
    assert again == [row for row in first if not in_sft_half(row["prompt"], 0.4)]
    assert 0 < len(again) < N
    assert load_config(later.folder / "config.yaml") == later.config
    assert load_kept_constitution(later.folder) == load_kept_constitution(run)
    assert round_folders(run) == {2: later.folder}


def test_a_round_s_panel_judges_by_the_laws_that_the_run_kept(tmp_path: Path) -> None:
    law = "---\nname: {}\n---\n## One\nBe {}.\n"
    for name in ("law", "north"):
        (tmp_path / f"{name}.md").write_text(law.format(name, name))
    seats = (Member(name="north", constitution=tmp_path / "north.md"), Member(name="south"))
    config = Config(outputs=tmp_path, constitution=tmp_path / "law.md", training=Training(rounds=2))
    config = config.model_copy(update={"judge": Judge(kind="panel", panel=seats)})
    start_run(config)
    (later,) = later_rounds(config)
    north, south = later.config.judge.panel
    assert (north.constitution, south.constitution) == (
        config.run_folder / "panel" / "north" / "constitution" / "north.md",
        None,
    )


def test_the_current_model_answers_and_the_base_critiques_and_judges(later: Round) -> None:
    with run_null_server(NullServer(answer=answer)) as server, run_null_server(NullServer(model_name="dpo")) as aligned:
        specs = {
            name: EngineSpec.of(connect([at.url], later.config.serving), later.config.store_url)
            for name, at in (("base", server), ("current", aligned))
        }
        run = RunContext(later.config, load_constitution(later.config.constitution), later.folder, specs)
        counts = asyncio.run(run_shards_here(run, shard_sizes(later.folder), Session()))
    assert [count.stage for count in counts] == ["respond", "revise", "sample", "judge"]
    asked = {"responses": "current", "samples": "current", "revisions": "base"}
    for table, model in asked.items():
        assert {row["model_identity"] for row in read_rows(later.folder / table)} == {specs[model].identity}
    answers = {row["response"] for table in ("responses", "samples") for row in read_rows(later.folder / table)}
    pairs = list(read_rows(later.folder / "pairs"))
    assert len(pairs) > 5 and {pair["strategy"] for pair in pairs} == {"on-policy"}
    assert {pair[side] for pair in pairs for side in ("chosen", "rejected")} <= answers
    assert count_rows(later.folder / "sft_data") == 0
    assert [count.stage for count in later.named(counts)[:2]] == ["round 2: respond", "round 2: revise"]


def test_a_run_that_begins_again_has_no_rounds_left(later: Round) -> None:
    run = later.folder.parents[1]
    reset_run_folder(load_config(run / "config.yaml"))
    assert round_folders(run) == {} and not (run / "rounds").exists()


def with_second_round(folder: Path, harmful: int) -> Config:
    """A judged run, with a second round that helps with some of 160 harmful requests."""
    config, model = load_config(folder / "config.yaml"), folder / "dpo-round-2"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_text(f"weights {harmful}")
    save_answers(folder / "answers", model.name, answers_of(model.name, {"harmful": harmful, "fact": 200}))
    (folder / "answers" / "dpo-round-2-failed.json").write_text("[]")
    names = ("base", "dpo", "dpo-round-2")
    (folder / "evaluation.json").write_text(
        json.dumps(evaluate_models({name: read_answers(folder, name) for name in names}))
    )
    return config


@pytest.mark.parametrize(("harmful", "best"), [(0, "dpo-round-2"), (9, "dpo")])
def test_the_verdict_and_what_is_accepted_are_the_best_round_s(tmp_path: Path, harmful: int, best: str) -> None:
    folder = make_judged_run(tmp_path, harmful=3)
    config = with_second_round(folder, harmful)
    assert decide_and_save(config).model == json.loads((folder / "gate.json").read_text())["model"] == best
    assert decide_and_save(config, "dpo").model == "dpo"  # where it is named

    decide_and_save(config)
    identities = {name: model_identity(folder / name) for name in ("dpo", "dpo-round-2")}
    write_manifest(folder, [], {"base": "sha256:00", **identities})
    accepted = promote(folder, "Ada", force=True, reason="too few requests for the gate")
    copy = tmp_path / accepted.folder
    assert (accepted.model, accepted.identity) == (best, identities[best])
    assert model_identity(copy / best) == identities[best]
    assert {path.name for path in copy.glob("dpo*")} == {best}
