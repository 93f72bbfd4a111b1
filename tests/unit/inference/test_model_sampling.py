"""Sampling parameters: the model's own, the configured ones, and what each does to requests and to keys."""

import json
from pathlib import Path
from typing import Any

import pytest

from charter.config import Config, Generation, Serving
from charter.config.generation import SamplingParameters
from charter.core.messages import user
from charter.inference import EngineSpec, Sampling, connect
from charter.inference.completion import request_key
from charter.inference.engine import request_parameters
from charter.inference.model_sampling import model_sampling
from charter.inference.session import open_engine
from charter.pipeline.judges.reward import RewardJudge
from charter.testing.null_server import NullServer, run_null_server

QWEN = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.0, "eos_token_id": 1}
HELLO = [user("hello")]
SAMPLED = Sampling(8, temperature=0.7)
GREEDY = Sampling(8)
CHOICE = Sampling(1, choices=("A", "B"))
NAMES = SamplingParameters.model_fields.keys()


def model_of(folder: Path, values: dict[str, Any] | str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "generation_config.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return folder


async def sent(
    tmp_path: Path, sampling: SamplingParameters | None = None, settings: Serving | None = None
) -> list[dict[str, Any]]:
    """The bodies of a sampled and a greedy request and of a choice."""
    folder = model_of(tmp_path / "model", QWEN)
    with run_null_server(NullServer(root=str(folder), keep_bodies=True)) as server:
        served = connect([server.url], settings or Serving())
        async with open_engine(EngineSpec.of(served, str(tmp_path / "s.sqlite"), sampling=sampling)) as engine:
            for each in (SAMPLED, GREEDY, CHOICE):
                await engine.ask(HELLO, each)
    return server.bodies


def parameters(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in NAMES if name in body}


async def test_sampled_answers_follow_the_models_own_parameters(tmp_path: Path) -> None:
    sampled, greedy, choice = await sent(tmp_path)
    assert parameters(sampled) == {"top_p": 0.95, "top_k": 20}
    assert parameters(greedy) == parameters(choice) == {"top_p": 1.0}
    assert sampled["temperature"] == 0.7


async def test_configured_parameters_go_before_the_models_own(tmp_path: Path) -> None:
    configured = SamplingParameters(top_k=-1, top_p=0.8, min_p=0.05, presence_penalty=0.5)
    sampled, greedy, choice = await sent(tmp_path, configured)
    assert parameters(sampled) == {"top_p": 0.8, "min_p": 0.05, "presence_penalty": 0.5}
    assert parameters(greedy) == parameters(choice) == {"top_p": 1.0}


async def test_variables_of_the_template_and_tokens_for_thoughts(tmp_path: Path) -> None:
    settings = Serving(chat_template_kwargs={"enable_thinking": True}, thinking_tokens=100)
    bodies = await sent(tmp_path, settings=settings)
    assert [body["chat_template_kwargs"] for body in bodies] == [{"enable_thinking": True}] * 3
    assert [body["max_tokens"] for body in bodies] == [108, 108, 1]


@pytest.mark.parametrize("values", [{}, {"eos_token_id": 1, "top_p": 1.0, "top_k": 0}, "no JSON", "[]", {"top_p": "x"}])
def test_a_model_without_parameters(values: dict[str, Any] | str, tmp_path: Path) -> None:
    assert model_sampling(model_of(tmp_path / "model", values)) == SamplingParameters()
    assert model_sampling(tmp_path / "missing") == SamplingParameters()


@pytest.mark.parametrize(
    "changed",
    [
        {"top_k": 20},
        {"min_p": 0.1},
        {"repetition_penalty": 1.1},
        {"presence_penalty": 1.0},
        {"frequency_penalty": 1.0},
        {"chat_template_kwargs": '{"enable_thinking": false}'},
        {"thinking_tokens": 5},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_set_is_part_of_the_key(changed: dict[str, Any]) -> None:
    assert request_key("m", HELLO, Sampling(8, **changed)) != request_key("m", HELLO, Sampling(8))


def test_they_are_settings() -> None:
    config = Config.model_validate({"generation": {"sampling": {"top_k": 40}}})
    assert config.generation == Generation(sampling=SamplingParameters(top_k=40))
    assert request_parameters(config.generation.sampling, config.serving)["sampling"] == (("top_k", 40),)


def test_the_judge_of_a_reward_keeps_them_through_its_file(tmp_path: Path) -> None:
    with run_null_server() as server:
        spec = EngineSpec.of(connect([server.url], Serving()), "s", sampling=SamplingParameters(top_k=40))
    judge = RewardJudge(spec, Config().judge, tmp_path / "c.md", 0, None, False)
    again = RewardJudge.from_dict(json.loads(json.dumps(judge.to_dict())))
    assert dict(again.engine.sampling) == {"top_k": 40}
