"""One request to each server at the start shows what it supports."""

from pathlib import Path
from typing import Any

import pytest

from charter.config import Serving
from charter.core.errors import ServingError
from charter.core.messages import user
from charter.inference import EngineSpec, Sampling, connect
from charter.inference.probe import probe
from charter.inference.server.fleet import serve_each
from charter.inference.session import Session
from charter.testing.null_server import NullServer, run_null_server

CHOICE = Sampling(1, choices=("A", "B"))


def probed(server: NullServer, settings: Serving | None = None) -> str:
    """The line about a server."""
    lines = list[str]()
    with run_null_server(server):
        probe(connect([server.url], settings or Serving()), lines.append)
    assert server.counts["requests"] == 0
    (line,) = lines
    return line.removeprefix(f"{server.url}: ")


def without_logprobs(answer: dict[str, Any]) -> None:
    answer["choices"][0]["logprobs"] = None


def test_a_server_like_vllm() -> None:
    assert probed(NullServer()) == "model null, log-probabilities of up to 20 tokens, constrained choices"


@pytest.mark.parametrize(
    ("server", "says"),
    [
        (NullServer(unknown=("structured_outputs",)), "no constrained choices"),
        (NullServer(ignored=("structured_outputs",)), "no constrained choices"),
        (NullServer(unknown=("seed",)), "'seed'"),
        (NullServer(rewrite=without_logprobs), "no log-probabilities, so a choice is the vote of 8 sampled answers"),
        (
            NullServer(refuse=lambda b: "top_logprobs: at most 5" if b.get("top_logprobs", 0) > 5 else None),
            "log-probabilities of up to 5 tokens",
        ),
    ],
)
def test_what_a_server_does_not_support(server: NullServer, says: str) -> None:
    assert says in probed(server)


def test_a_model_that_thinks() -> None:
    def rewrite(answer: dict[str, Any]) -> None:
        answer["choices"][0] |= {"finish_reason": "length", "logprobs": None}
        answer["choices"][0]["message"] = {"content": None, "reasoning_content": "Hm"}

    assert "thinks" in probed(NullServer(rewrite=rewrite))


def test_a_server_that_answers_nothing_is_refused_before_anything_is_spent() -> None:
    with pytest.raises(ServingError, match=r"refuses a request for one token.*Out of order"):
        probed(NullServer(refuse=lambda body: "Out of order."))
    with run_null_server(NullServer(has_models=False)) as server, pytest.raises(ServingError, match="404"):
        probe(connect([server.url], Serving(model_name="other")))


def test_a_judge_without_log_probabilities_is_refused_where_votes_are_switched_off(tmp_path: Path) -> None:
    settings = Serving(choice_samples=0)
    with (
        run_null_server(NullServer(rewrite=without_logprobs)) as without,
        run_null_server() as with_them,
    ):
        one, other = (settings.at((server.url,), "null") for server in (without, with_them))
        with serve_each({"base": ("", one), "judge": ("", other)}, settings, tmp_path, print) as served:
            assert served["base"].dialects[0].top_logprobs == 0
        for models in ({"base": ("", one)}, {"base": ("", other), "judge": ("", one)}):
            with (
                pytest.raises(ServingError, match=r"no log-probabilities.*serving\.choice_samples"),
                serve_each(models, settings, tmp_path, print),
            ):
                pass
        assert without.counts["requests"] == 0


async def test_what_the_probe_learned_is_not_learned_again_and_is_noted(tmp_path: Path) -> None:
    with run_null_server(NullServer(unknown=("seed",), rewrite=without_logprobs)) as server:
        served = probe(connect([server.url], Serving(choice_samples=3)))
        session = Session()
        async with session.engine(EngineSpec.of(served, str(tmp_path / "store.sqlite"))) as engine:
            await engine.ask([user("A or B?")], CHOICE)
    assert server.counts["requests"] == 3
    (notes,) = session.server_notes().values()
    assert any("seed" in note for note in notes)
    assert any("vote" in note for note in notes)
