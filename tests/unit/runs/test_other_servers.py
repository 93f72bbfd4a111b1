"""Whole datasets from servers that differ from vLLM: rows come out, and thoughts reach none of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from charter.api import make_dataset
from charter.config import Config
from charter.core.errors import ServingError
from charter.core.messages import Message
from charter.testing.null_server import NullServer, run_null_server
from tests.support.numbered_prompts import config_with_prompts

N = 12


def config(outputs: Path, url: str, **serving: object) -> Config:
    return config_with_prompts(outputs, url, N, serving=serving)


def answer(messages: Sequence[Message]) -> str:
    last = messages[-1]["content"]
    if "Verdict:" in last:
        return "Verdict: violated"
    if last.startswith("Rewrite"):
        return "good: I will not."
    if "good:" in last:  # the judge prefers it, whichever letter it has
        return "A" if last.rfind("good:") < last.rfind("bad:") else "B"
    return f"bad: {last}"


def message_of(body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = body["choices"][0]["message"]
    return message


def hosted(body: dict[str, Any]) -> None:
    """No usage, no log-probabilities, another finish_reason, and content in parts."""
    del body["usage"]
    body["choices"][0] |= {"logprobs": None, "finish_reason": "STOP"}
    message_of(body)["content"] = [{"type": "text", "text": message_of(body)["content"]}]


def thinking_aloud(body: dict[str, Any]) -> None:
    """A template that writes the opening tag itself; log-probabilities of thoughts come first."""
    message_of(body)["content"] = f"SECRET or A?</think>\n{message_of(body)['content']}"
    if logprobs := body["choices"][0]["logprobs"]:
        thoughts = [
            {"token": token, "logprob": 0.0, "top_logprobs": []} for token in ("SECRET or A?", "</think>", "\n")
        ]
        logprobs["content"] = [*thoughts, *logprobs["content"]]


def parsed_thoughts(body: dict[str, Any]) -> None:
    message_of(body)["reasoning_content"] = "SECRET"


@pytest.mark.parametrize(
    "server",
    [
        NullServer(answer=answer, rewrite=hosted, unknown=("seed", "structured_outputs")),
        NullServer(answer=answer, rewrite=thinking_aloud),
        NullServer(answer=answer, rewrite=parsed_thoughts),
        NullServer(
            answer=answer,
            refuse=lambda body: "Use max_completion_tokens instead of max_tokens" if "max_tokens" in body else None,
        ),
    ],
    ids=["hosted", "thinking aloud", "parsed thoughts", "max_completion_tokens"],
)
def test_every_row_becomes_a_pair_with_a_soft_label(server: NullServer, tmp_path: Path) -> None:
    with run_null_server(server):
        run = make_dataset(config(tmp_path, server.url))
    pairs, sft = run.table("pairs").collect(), run.table("sft_data").collect()
    assert len(pairs) + len(sft) > N // 2
    assert all(0.05 < p < 0.99 for p in pairs["p_chosen"])
    for name in ("responses", "revisions", "pairs", "sft_data"):
        assert "SECRET" not in run.table(name).collect().write_json()
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert bool(manifest["servers"]) is True


def test_a_judge_without_log_probabilities_stops_the_run_before_anything_is_spent(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=answer, rewrite=hosted)) as server:
        with pytest.raises(ServingError, match=r"serving\.choice_samples"):
            make_dataset(config(tmp_path, server.url, choice_samples=0))
        assert server.counts["requests"] == 0
