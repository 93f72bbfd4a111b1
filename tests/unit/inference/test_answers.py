"""Answers of servers other than vLLM, over HTTP."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charter.config import Serving
from charter.core.errors import CompletionFailed
from charter.core.messages import user
from charter.inference import Client, Completion, EngineSpec, Sampling, connect
from charter.inference.session import open_engine
from charter.testing.null_server import NullServer, run_null_server

Rewrite = Callable[[dict[str, Any]], None]


async def ask(rewrite: Rewrite, max_tokens: int = 50) -> Completion:
    with run_null_server(NullServer(answer=lambda messages: "It is Paris.", rewrite=rewrite)) as server:
        async with Client([server.url], "null") as client:
            return await client.complete([user("What is the capital?")], Sampling(max_tokens))


def with_message(**fields: Any) -> Rewrite:
    return lambda body: body["choices"][0]["message"].update(fields)


def with_choice(**fields: Any) -> Rewrite:
    return lambda body: body["choices"][0].update(fields)


@pytest.mark.parametrize("usage", ["missing", None, {}, {"total_tokens": 9}, {"prompt_tokens": None}])
async def test_tokens_that_are_not_counted_are_estimated(usage: Any, caplog: pytest.LogCaptureFixture) -> None:
    def rewrite(body: dict[str, Any]) -> None:
        if usage == "missing":
            del body["usage"]
        else:
            body["usage"] = usage

    assert await ask(rewrite) == Completion("It is Paris.", "stop", 5, 3)
    assert "estimated" in caplog.text


@pytest.mark.parametrize("reason", ["eos", "STOP", None, "end_turn", "eos_token", "FinishReason.STOP", "stop_sequence"])
async def test_an_answer_that_ended(reason: str | None) -> None:
    assert (await ask(with_choice(finish_reason=reason))).finish_reason == "stop"


@pytest.mark.parametrize("reason", ["max_tokens", "MAX_TOKENS", "FinishReason.MAX_TOKENS", "max_length"])
async def test_an_answer_that_was_cut_off(reason: str) -> None:
    assert (await ask(with_choice(finish_reason=reason))).finish_reason == "length"


async def test_without_a_reason_an_answer_that_used_all_tokens_was_cut_off() -> None:
    assert (await ask(with_choice(finish_reason=None), max_tokens=3)).finish_reason == "length"


async def test_an_unknown_reason_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    assert (await ask(with_choice(finish_reason="sunset"))).finish_reason == "stop"
    assert "sunset" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "It is Paris."}],
        [{"type": "text", "text": "It is "}, {"type": "output_text", "text": "Paris."}],
        ["It is ", {"text": {"value": "Paris."}}],
        {"type": "text", "text": "It is Paris."},
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "It is Paris."}],
    ],
)
async def test_parts_of_an_answer_are_joined(content: Any) -> None:
    assert (await ask(with_message(content=content))).text == "It is Paris."


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "<think>Hm.</think>It is Paris."},
        {"content": "It is Paris.", "reasoning_content": "Hm."},
        {"content": "It is Paris.", "reasoning": "Hm."},
        {"content": [{"type": "reasoning", "text": "Hm."}, {"type": "text", "text": "It is Paris."}]},
    ],
)
async def test_thoughts_are_kept_apart(fields: dict[str, Any]) -> None:
    completion = await ask(with_message(**fields))
    assert (completion.text, completion.thinking) == ("It is Paris.", "Hm.")
    assert Completion.from_bytes(completion.to_bytes()).thinking == "Hm."


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": "<think>Hm."}, "length"),
        ({"content": None, "reasoning_content": "Hm."}, "length"),
        ({"content": "", "reasoning": "Hm."}, "stop"),
    ],
)
async def test_only_thoughts_is_a_failure_of_that_name(message: dict[str, Any], reason: str, tmp_path: Path) -> None:
    def rewrite(body: dict[str, Any]) -> None:
        with_message(**message)(body)
        with_choice(finish_reason=reason)(body)

    with run_null_server(NullServer(rewrite=rewrite)) as server:
        spec = EngineSpec.of(connect([server.url], Serving()), str(tmp_path / "store.sqlite"))
        async with open_engine(spec) as engine:
            for _ in range(2):  # asked, then read from the store
                with pytest.raises(CompletionFailed) as caught:
                    await engine.ask([user("Why?")], Sampling(50))
                assert caught.value.reason == "only-thoughts"
        assert server.counts["requests"] == 1


def test_thoughts_in_a_stored_answer_are_split_off() -> None:
    stored = b'{"text":"<think>Hm.</think>Paris.","finish_reason":"eos","prompt_tokens":1,"completion_tokens":2,"choice_probs":[]}'  # fmt: skip  # noqa: E501
    assert Completion.from_bytes(stored) == Completion("Paris.", "stop", 1, 2, stored=True, thinking="Hm.")


@pytest.mark.parametrize(
    ("message", "choice", "reason", "detail"),
    [
        ({"content": None, "refusal": "I will not."}, {}, "refused", "I will not."),
        ({"content": [{"type": "refusal", "refusal": "I will not."}]}, {}, "refused", "I will not."),
        ({"content": None}, {"finish_reason": "content_filter"}, "content-filter", "content_filter"),
        ({"content": "It is"}, {"finish_reason": "SAFETY"}, "content-filter", "It is"),
        (
            {"content": None},
            {"finish_reason": "content_filter", "content_filter_results": {"hate": {"filtered": True}}},
            "content-filter",
            "hate",
        ),
    ],
)
async def test_filtered_and_refused(message: Any, choice: Any, reason: str, detail: str) -> None:
    def rewrite(body: dict[str, Any]) -> None:
        with_message(**message)(body)
        with_choice(**choice)(body)

    with pytest.raises(CompletionFailed) as caught:
        await ask(rewrite)
    assert caught.value.reason == reason
    assert detail in caught.value.detail


async def test_a_request_that_the_filter_refuses() -> None:
    problem = "The response was filtered due to the prompt triggering our content management policy."
    with run_null_server(NullServer(refuse=lambda body: problem)) as server:
        async with Client([server.url], "null") as client:
            with pytest.raises(CompletionFailed, match="content-filter"):
                await client.complete([user("Hello")], Sampling(5))
    assert server.counts["requests"] == 1
