"""Real vLLM with a small random model: it starts, answers rightly, dies clearly, and never outlives its parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from charter.config import Serving
from charter.core.errors import CompletionFailed, ServingError
from charter.core.messages import Message, user
from charter.core.processes import pid_file
from charter.inference import (
    EngineSpec,
    Sampling,
    Served,
    connect,
    model_identity,
    open_engine,
    serve,
    server_metrics,
)
from tests.support.tiny_model import make_tiny_model

pytestmark = pytest.mark.system

SETTINGS = Serving(kv_cache_gib=0.25, max_model_len=512)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Heads of 32: vLLM's CPU attention dies at the first request to a model with heads of 16.
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", width=128)


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    told: list[str] = []
    with serve(model, SETTINGS, tmp_path_factory.mktemp("logs") / "vllm.log", on_progress=told.append) as server:
        assert "importing vLLM" in told[0]
        assert "serves tiny on port" in told[-1]
        yield server
    assert server.pid is not None
    assert group_members(server.pid) == []


def group_members(group: int) -> list[str]:
    """The command lines of the group's living processes."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                members.append(stat.with_name("cmdline").read_text().replace("\0", " "))
        except (OSError, ValueError):
            continue
    return members


async def test_answers_are_asked_once_and_are_the_same_again(served: Served, model: Path, tmp_path: Path) -> None:
    assert served.identity == model_identity(model)
    questions: list[list[Message]] = [[user(f"How do I repair a bicycle? Part {i}")] for i in range(30)]
    before = await server_metrics(served.base_url)
    texts = []
    for _ in range(2):
        async with open_engine(EngineSpec.of(served, str(tmp_path / "store.sqlite"))) as engine:
            asked = (engine.ask(q, Sampling(12, temperature=1.0, seed=i)) for i, q in enumerate(questions))
            answers = await asyncio.gather(*asked)
            texts.append([answer.text for answer in answers])
            stats = engine.stats
    after = await server_metrics(served.base_url)
    assert texts[0] == texts[1]
    assert (stats.asked, stats.from_store) == (0, 30)
    assert after.requests - before.requests == 30
    assert 30 <= after.generation_tokens - before.generation_tokens <= 360
    assert len(set(texts[0])) > 20


async def test_choice_probabilities_are_those_of_the_model(served: Served, model: Path, tmp_path: Path) -> None:
    """Against transformers, computed apart: the softmax over the two letters' logits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "AB"]
    async with open_engine(EngineSpec.of(served, str(tmp_path / "store.sqlite"))) as engine:
        for text in ("Which answer is better, A or B?", "Choose the response that does no harm."):
            found = await engine.ask([user(text)], Sampling(1, choices=("A", "B")))
            prompt = tokenizer.apply_chat_template(
                [user(text)], add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            with torch.no_grad():
                right = reference(**prompt).logits[0, -1, letters].softmax(-1).tolist()
            assert found.choice_probs == pytest.approx(right, abs=1e-4)
            assert sum(found.choice_probs) == pytest.approx(1.0)
            assert (found.text, found.finish_reason) == ("AB"[right.index(max(right))], "stop")


@pytest.mark.slow
async def test_choices_of_several_tokens(served: Served, tmp_path: Path) -> None:
    async with open_engine(EngineSpec.of(served, str(tmp_path / "store.sqlite"))) as engine:
        question = [user("Which answer is better?")]
        for choices in (("(A)", "(B)"), ("Yes", "No"), ("violated", "not violated")):
            found = await engine.ask(question, Sampling(16, choices=choices))
            assert sum(found.choice_probs) == pytest.approx(1.0)
            assert min(found.choice_probs) > 0
            assert found.text in choices


@pytest.mark.slow
async def test_too_long_is_one_rows_failure(served: Served, tmp_path: Path) -> None:
    async with open_engine(EngineSpec.of(served, str(tmp_path / "store.sqlite"))) as engine:
        with pytest.raises(CompletionFailed) as caught:
            await engine.ask([user("bicycle " * 3000)], Sampling(8))
        assert caught.value.reason == "context-too-long"
        assert (await engine.ask([user("bicycle")], Sampling(8))).completion_tokens > 0


@pytest.mark.slow
async def test_shared_beginnings_are_computed_once(served: Served, tmp_path: Path) -> None:
    shared = "Please choose the response that is least likely to hurt somebody. " * 4
    async with open_engine(EngineSpec.of(served, str(tmp_path / "store.sqlite"))) as engine:
        before = await server_metrics(served.base_url)
        for i in range(6):
            await engine.ask([user(f"{shared} {i}")], Sampling(1))
        after = await server_metrics(served.base_url)
    assert after.prefix_cache_hits - before.prefix_cache_hits > 0.4 * (after.prompt_tokens - before.prompt_tokens)


def test_connecting_finds_the_same_model(served: Served) -> None:
    found = connect(served.base_urls, Serving())
    assert (found.model_name, found.identity) == (served.model_name, served.identity)


def test_a_busy_port_is_told_at_once(served: Served, model: Path, tmp_path: Path) -> None:
    port = int(served.base_url.split(":")[2].split("/")[0])
    busy = pytest.raises(ServingError, match=f"serving.port '{port}': already in use")
    with busy, serve(model, Serving(port=port), tmp_path / "vllm.log"):
        pass


PARENT = """
import sys, time
from pathlib import Path
from charter.config import Serving
from charter.inference import serve
with serve(sys.argv[1], Serving(kv_cache_gib=0.25, max_model_len=512), Path(sys.argv[2]), side_by_side=2) as server:
    print(server.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_parent_leaves_nothing_behind(served: Served, model: Path, tmp_path: Path) -> None:
    """A second server, beside the first; its parent is killed with SIGKILL while it serves."""
    log = tmp_path / "vllm.log"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(model), str(log)], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        assert int(pid_file(log).read_text()) == group
        assert any("EngineCore" in member for member in group_members(group))
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.communicate(timeout=30)
    deadline = time.monotonic() + 30
    while group_members(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert group_members(group) == []
    assert not pid_file(log).exists()
    assert connect(served.base_urls, Serving()).model_name == "tiny"


@pytest.mark.slow
def test_an_unknown_architecture_is_told(model: Path, tmp_path: Path) -> None:
    strange = make_tiny_model(tmp_path / "strange")
    config = strange / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "StrangeForCausalLM"))
    with pytest.raises(ServingError) as caught, serve(strange, SETTINGS, tmp_path / "vllm.log"):
        pass
    message = str(caught.value)
    assert "vLLM does not know this architecture ['StrangeForCausalLM']" in message
    assert "are not supported" in message
    assert "Traceback" not in message


@pytest.mark.slow
async def test_long_prompts_with_seeds_side_by_side_do_not_kill_the_engine(served: Served, tmp_path: Path) -> None:
    prompt = "word " * 40
    async with open_engine(EngineSpec.of(served, str(tmp_path / "store.sqlite"))) as engine:
        asked = [
            engine.ask([user(f"{i} {prompt}")], Sampling(max_tokens=4, temperature=1.0, seed=i)) for i in range(96)
        ]
        answers = await asyncio.gather(*asked)
    assert len(answers) == 96
