"""A model per role: who answers, criticises, revises, judges and grades, and that each model is started once."""

import asyncio
import shutil
from pathlib import Path

import pytest

from charter.config import Config, Evaluation, Generation, Judge, RoleModel, Serving
from charter.constitution import load_constitution
from charter.core.errors import ModelError
from charter.core.messages import user
from charter.data.sources import Prompt
from charter.inference.identity import model_identity
from charter.inference.server.launch import Launch, vllm_command
from charter.inference.session import Session
from charter.pipeline.context import RunContext
from charter.pipeline.roles import generation_models, grader_model, judge_model, serve_temporarily, start_model
from charter.pipeline.sequence import run_in_memory
from charter.runs.evaluation_models import BASE, JUDGE, MODEL, evaluation_models
from charter.sandbox import MODEL as SANDBOX
from tests.support.stand_in import write_stand_in

TEACHER = "http://127.0.0.1:9/v1"


def config(**roles: RoleModel) -> Config:
    return Config(name="x", generation=Generation(**roles), constitution=Path("constitutions/harmless.md"))


def test_roles_without_a_model_are_the_run_s_own() -> None:
    assert list(generation_models(config())) == ["base"]
    assert judge_model(config()) == grader_model(config()) == generation_models(config())["base"]
    assert list(generation_models(config(critic=RoleModel(model="sandbox")))) == ["base"]  # what is aligned anyway


def test_each_role_has_its_own_model_and_servers() -> None:
    teacher = RoleModel(model="teacher", base_urls=(TEACHER,), api_key_env="TEACHER_KEY")
    found = generation_models(config(responder=RoleModel(model="ORG/other"), critic=teacher))
    assert list(found) == ["base", "responder", "critic"]
    assert found["responder"][0] == "ORG/other"
    model, serving = found["critic"]
    assert (model, serving.base_urls, serving.api_key_env) == ("teacher", (TEACHER,), "TEACHER_KEY")


def test_who_stands_in_for_whom() -> None:
    constitution = load_constitution(Path("constitutions/harmless.md"))
    specs = {name: name for name in ("base", "responder", "critic", "reviser", "current")}

    def asked(role: str, *models: str) -> object:
        run = RunContext(config(), constitution, Path(), {name: specs[name] for name in ("base", *models)})  # type: ignore[misc]
        return run.model(role)

    assert asked("current", "responder", "critic") == "responder"
    assert asked("current", "responder", "current") == "current"  # a later round: the trained model answers
    assert asked("reviser", "critic") == "critic"
    assert asked("critic") == asked("judge", "critic") == "base"


def test_the_grader_can_be_another_model_than_the_judge() -> None:
    grader = RoleModel(model="grader", base_urls=(TEACHER,))
    settings = Config(
        name="x",
        judge=Judge(model="ORG/judge"),
        evaluation=Evaluation(grader="judge", grader_model=grader),
        constitution=Path("constitutions/harmless.md"),
    )
    assert judge_model(settings)[0] == "ORG/judge"
    found = evaluation_models(settings, "sandbox")
    assert list(found) == [BASE, MODEL, JUDGE]
    assert found[JUDGE][0] == "grader"


def test_a_pinned_revision_is_served_trained_and_named_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    hub = tmp_path / "models--ORG--name"
    for commit in ("aaa", "bbb"):
        (hub / "snapshots" / commit).mkdir(parents=True)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("bbb")
    (hub / "refs" / "v1").write_text("aaa")

    def pinned(revision: str | None, **serving: object) -> Config:
        return Config(name="x", model="ORG/name", serving=Serving(model_revision=revision, **serving))  # type: ignore[arg-type]

    assert start_model(pinned(None)) == "ORG/name"
    assert start_model(pinned("v1")) == start_model(pinned("aaa")) == str(hub / "snapshots" / "aaa")
    assert model_identity("ORG/name", "v1") == "hub:ORG/name@aaa"
    with pytest.raises(ModelError, match="hf download ORG/name --revision v2"):
        start_model(pinned("v2"))
    assert start_model(pinned("any word", base_urls=(TEACHER,))) == "ORG/name"
    launch = Launch("ORG/name", "name", 8123, "python", on_cpu=False, local=False)
    command = vllm_command(launch, pinned("v1").serving)
    assert command[command.index("--revision") + 1] == "v1"
    # Of the run's model, not of a judge with its own
    judged = pinned("v1").model_copy(update={"judge": Judge(model="ORG/judge")})
    assert generation_models(judged)["judge"][1].model_revision is None


def test_lineage_names_the_model_of_every_role_and_each_model_is_started_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, other = tmp_path / "teacher", tmp_path / "other"
    for folder in (teacher, other):
        shutil.copytree(SANDBOX, folder)
        (folder / "note.json").write_text(f'"{folder.name}"')
    settings = Config(
        name="x",
        outputs=tmp_path / "outputs",
        constitution=Path("constitutions/harmless.md"),
        generation=Generation(
            rounds=1,
            revise="always",
            responder=RoleModel(model=str(other)),
            critic=RoleModel(model=str(teacher)),
            reviser=RoleModel(model=str(other)),
        ),
        judge=Judge(model=str(teacher)),
        serving=Serving(python=write_stand_in(tmp_path)),
    )
    constitution = load_constitution(settings.constitution)
    prompts = [Prompt("0" * 32, (user("How are you?"),), None, "test").row()]
    with serve_temporarily(settings, lambda line: None) as models:
        started = {spec.base_urls for spec in models.values()}
        run = RunContext(settings, constitution, tmp_path / "run", models)
        result = asyncio.run(run_in_memory(prompts, run, Session()))
    identity = {name: spec.identity for name, spec in models.items()}
    assert len(started) == len(set(identity.values())) == 3
    assert identity["critic"] == identity["judge"] != identity["reviser"] == identity["responder"] != identity["base"]
    (response,), (revision,) = result.tables["responses"], result.tables["revisions"]
    assert response["model_identity"] == identity["responder"]
    assert revision["model_identity"] == f"{identity['critic']}; reviser {identity['reviser']}"
