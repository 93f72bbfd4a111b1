"""What servers refuse is learned once per endpoint, from refusals in any wording that names the parameter."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from charter.core.errors import CompletionFailed, ServingError
from charter.core.messages import assistant, system, user
from charter.inference import Client, Completion, Sampling
from charter.inference.dialect import Dialect
from charter.testing.null_server import NullServer, run_null_server

Body = dict[str, Any]
LETTERS = Sampling(1, choices=("A", "B"))


async def ask(
    server: NullServer, *samplings: Sampling, choice_samples: int = 8
) -> tuple[list[Completion], dict[str, str]]:
    """The answers, asked one after the other, and what was noted about the server."""
    server.keep_bodies = True
    with run_null_server(server):
        async with Client([server.url], "null", choice_samples=choice_samples) as client:
            answers = [await client.complete([user("Plant the seed; temperature 0?")], each) for each in samplings]
            return answers, client._router.endpoints[0].notes


def refusing(name: str, text: str, unless: Callable[[Any], bool] = lambda value: False) -> NullServer:
    return NullServer(refuse=lambda body: text if name in body and not unless(body[name]) else None)


@pytest.mark.parametrize(
    "text",
    [
        "Unsupported parameter: 'seed' is not supported with this model.",
        "seed: Extra inputs are not permitted",
        "The parameter `seed` is invalid.",
        "Seed not available",
    ],
)
async def test_a_refused_seed_is_left_out_once_and_for_all(text: str, caplog: pytest.LogCaptureFixture) -> None:
    server = refusing("seed", text)
    _, notes = await ask(server, Sampling(4, seed=1), Sampling(4, seed=2), Sampling(5))
    assert ["seed" in body for body in server.bodies] == [True, False, False, False]
    assert caplog.text.count("'seed'") == 1
    assert "seed" in notes


@pytest.mark.parametrize(
    ("error", "learned"),
    [
        ({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "No.", "input": 7}]}, "seed"),
        ({"error": {"message": "Invalid request", "param": "topP"}}, "top_p"),
        ({"errors": {"top_p": ["may not be given"]}}, "top_p"),
        ({"detail": [{"loc": ["body", "messages"], "msg": "No.", "input": "the seed"}]}, None),
        ({"error": {"message": "Something is wrong."}}, None),
    ],
)
def test_where_a_refusal_names_the_parameter(error: Body, learned: str | None) -> None:
    request = Dialect().request("m", [user("Hello")], Sampling(4))
    dialect = Dialect().after_refusal(request, json.dumps(error).encode())
    assert dialect == (Dialect(left_out=frozenset({learned})) if learned else None)


async def test_a_refusal_of_one_conversation_changes_no_other_request() -> None:
    """Its text quotes the conversation, which happens to contain the names of parameters."""
    server = NullServer(refuse=lambda body: f"Not about: {body['messages'][0]['content']}")
    with pytest.raises(CompletionFailed, match=r"bad-request"):
        await ask(server, Sampling(4))
    with run_null_server(server):
        async with Client([server.url], "null") as client:
            with pytest.raises(CompletionFailed):
                await client.complete([user("Plant the seed.")], Sampling(4))
            server.refuse = None
            await client.complete([user("Hello")], Sampling(4))
    assert server.bodies[-1]["seed"] == 0


async def test_another_name_for_the_limit() -> None:
    text = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    server = refusing("max_tokens", text)
    answers, _ = await ask(server, Sampling(4), Sampling(3))
    assert [body.get("max_completion_tokens") for body in server.bodies] == [None, 4, 3]
    assert answers[0].text


async def test_a_limit_that_is_too_large_is_the_rows_failure() -> None:
    server = refusing("max_tokens", "max_tokens is too large: 9000. This model supports at most 4096 tokens.")
    with pytest.raises(CompletionFailed, match=r"bad-request.*at most 4096"):
        await ask(server, Sampling(9000))


async def test_a_limit_that_is_too_small_for_one_token() -> None:
    server = refusing("max_tokens", "Invalid 'max_tokens': expected a value >= 16.", lambda value: value >= 16)
    await ask(server, LETTERS, Sampling(40))
    assert [body["max_tokens"] for body in server.bodies] == [1, 16, 40]


@pytest.mark.parametrize("default_only", [False, True])
async def test_a_temperature_of_zero(default_only: bool) -> None:
    server = refusing(
        "temperature", "`temperature` must be strictly positive", lambda value: value and not default_only
    )
    _, notes = await ask(server, Sampling(4), Sampling(5))
    sent = [body.get("temperature") for body in server.bodies]
    assert sent == ([0, 0.01, None, None] if default_only else [0, 0.01, 0.01])
    assert "temperature" in notes


async def test_of_two_that_exclude_each_other_the_temperature_stays() -> None:
    text = "`temperature` and `top_p` cannot both be specified for this model."
    server = NullServer(refuse=lambda body: text if {"temperature", "top_p"} <= body.keys() else None)
    await ask(server, Sampling(4, temperature=0.7))
    assert [body["temperature"] for body in server.bodies] == [0.7, 0.7]
    assert "top_p" not in server.bodies[-1]


@pytest.mark.parametrize("text", ["Invalid value for 'top_logprobs': 20 > maximum 5.", "top_logprobs is too high"])
async def test_as_many_log_probabilities_as_the_server_returns(text: str) -> None:
    server = refusing("top_logprobs", text, lambda value: value <= 5)
    (first, second), _ = await ask(server, LETTERS, LETTERS)
    assert first.choice_probs == second.choice_probs
    assert server.bodies[-1]["top_logprobs"] == 5
    assert len(server.bodies) == (3 if "5" in text else 4)


def without_logprobs(answer: Body) -> None:
    answer["choices"][0]["logprobs"] = None


def without_alternatives(answer: Body) -> None:
    for position in answer["choices"][0]["logprobs"]["content"]:
        position["top_logprobs"] = []


@pytest.mark.parametrize(
    "server",
    [
        refusing("logprobs", "This model does not support logprobs."),
        refusing("logprobs", "You are not allowed to request log probabilities from this model"),
        NullServer(rewrite=without_logprobs),
        NullServer(rewrite=without_alternatives),
        NullServer(ignored=("logprobs", "top_logprobs"), unknown=("structured_outputs",), answer=lambda messages: "A"),
    ],
    ids=["refused", "other words", "empty", "without alternatives", "ignored"],
)
async def test_without_log_probabilities_a_choice_is_a_vote(
    server: NullServer, caplog: pytest.LogCaptureFixture
) -> None:
    (first, second), notes = await ask(server, LETTERS, LETTERS)
    assert first == second
    votes = [10 * p - 1 for p in first.choice_probs]
    assert sum(votes) == pytest.approx(8)
    assert all(vote == pytest.approx(round(vote)) for vote in votes)
    assert len({body.get("seed") for body in server.bodies}) == 8
    assert "vote of 8" in caplog.text
    assert "logprobs" in notes


async def test_votes_that_are_switched_off() -> None:
    with pytest.raises(ServingError, match=r"no log-probabilities.*serving\.choice_samples"):
        await ask(refusing("logprobs", "logprobs are not supported"), LETTERS, choice_samples=0)


async def test_votes_that_are_no_choice_are_a_failure() -> None:
    undecided = NullServer(rewrite=without_logprobs, unknown=("structured_outputs",), answer=lambda messages: "Perhaps")
    with pytest.raises(CompletionFailed, match=r"no-choice: Perhaps"):
        await ask(undecided, LETTERS)


def renamed(names: dict[str, str]) -> Callable[[Body], None]:
    def rewrite(answer: Body) -> None:
        for position in answer["choices"][0]["logprobs"]["content"]:
            for token in (position, *position["top_logprobs"]):
                token["token"] = names[token["token"]]
                token.pop("bytes", None)

    return rewrite


@pytest.mark.parametrize(
    "names",
    [{"A": "ĠA", "B": "ĠB"}, {"A": "▁A", "B": "▁B"}, {"A": "<0x41>", "B": "<0x42>"}, {"A": "A", "B": "ĠB"}],
    ids=["byte-level", "sentencepiece", "bytes", "mixed"],
)
async def test_tokens_named_by_their_pieces(names: dict[str, str]) -> None:
    (expected,), _ = await ask(NullServer(), LETTERS)
    (found,), _ = await ask(NullServer(rewrite=renamed(names)), LETTERS)
    assert found == expected


async def test_bytes_tell_a_token_whose_name_does_not() -> None:
    def rewrite(answer: Body) -> None:
        for position in answer["choices"][0]["logprobs"]["content"]:
            for token in (position, *position["top_logprobs"]):
                token["bytes"], token["token"] = list(token["token"].encode()), "\ufffd"

    (expected,), _ = await ask(NullServer(), LETTERS)
    assert (await ask(NullServer(rewrite=rewrite), LETTERS))[0] == [expected]


async def test_tokens_named_by_their_ids_are_asked_for_by_text() -> None:
    (expected,), _ = await ask(NullServer(), LETTERS)
    server = NullServer()

    def rewrite(answer: Body) -> None:
        if "return_tokens_as_token_ids" not in server.bodies[-1]:
            renamed({"A": "token_id:32", "B": "token_id:33"})(answer)

    server.rewrite = rewrite
    # The null server draws by the request's hash: compare only that log-probabilities were read.
    (found,), _ = await ask(server, LETTERS)
    assert [body.get("return_tokens_as_token_ids") for body in server.bodies] == [None, False]
    assert len(found.choice_probs) == len(expected.choice_probs)


async def test_tokens_that_do_not_spell_the_answer_are_named() -> None:
    server = NullServer(rewrite=renamed({"A": "token_id:32", "B": "token_id:33"}), answer=lambda messages: "B")
    with pytest.raises(CompletionFailed, match=r"no-choice.*token_id:33.*do not spell the answer 'B'"):
        await ask(server, LETTERS, choice_samples=0)
    (voted,), _ = await ask(server, LETTERS)
    assert voted.choice_probs == pytest.approx((0.1, 0.9))


async def test_ids_next_to_one_text_do_not_give_it_all_of_the_probability() -> None:
    """As vLLM with --return-tokens-as-token-ids writes them: only the drawn token has the bytes of its text."""
    server = NullServer()

    def rewrite(answer: Body) -> None:
        if "return_tokens_as_token_ids" not in server.bodies[-1]:
            (position,) = answer["choices"][0]["logprobs"]["content"]
            drawn = position["token"]
            renamed({"A": "token_id:37", "B": "token_id:38"})(answer)
            position["bytes"] = list(drawn.encode())
            for token in position["top_logprobs"]:
                token["bytes"] = list(token["token"].encode())

    server.rewrite = rewrite
    (completion,), notes = await ask(server, LETTERS)
    assert min(completion.choice_probs) > 0
    assert "names_tokens" in notes


async def test_alternatives_named_in_another_way_than_the_drawn_token_are_not_read() -> None:
    def rewrite(answer: Body) -> None:
        for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            token["token"], token["bytes"] = f"<{ord(token['token'])}>", None

    with pytest.raises(CompletionFailed, match=r"no-choice.*in another way"):
        await ask(NullServer(rewrite=rewrite), LETTERS, choice_samples=0)
    (voted,), _ = await ask(NullServer(rewrite=rewrite), LETTERS)
    assert sum(10 * p - 1 for p in voted.choice_probs) == pytest.approx(8)


def thinking_server(switchable: bool, refused: bool = False, inline: bool = False) -> NullServer:
    """A model that thinks for 100 tokens before it chooses B."""
    server = NullServer(unknown=("chat_template_kwargs",) if refused else (), answer=lambda messages: "B")

    def rewrite(answer: Body) -> None:
        body, (choice,) = server.bodies[-1], answer["choices"]
        if switchable and (body.get("chat_template_kwargs") or {}).get("enable_thinking") is False:
            return
        thoughts = [{"token": text, "logprob": 0.0, "top_logprobs": []} for text in ("Is", " A", " better?")]
        if body["max_tokens"] > 100:
            tokens = [*thoughts, {"token": "</think>", "logprob": 0.0, "top_logprobs": []}]
            choice["logprobs"]["content"] = [*tokens, *choice["logprobs"]["content"]]
            content = choice["message"]["content"]
        else:
            choice |= {"finish_reason": "length", "logprobs": {"content": thoughts[:1]}}
            content = None
        if inline:
            content = f"<think>Is A better?</think>{content}" if content else "<think>Is"
            choice["message"] = {"role": "assistant", "content": content}
        else:
            choice["message"] = {"role": "assistant", "content": content, "reasoning_content": "Is A better?"}

    server.rewrite = rewrite
    return server


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize(("switchable", "refused", "requests"), [(True, False, 2), (False, False, 3), (False, True, 3)])
async def test_a_judge_that_thinks_is_read_after_its_thoughts_or_without_them(
    switchable: bool, refused: bool, requests: int, inline: bool
) -> None:
    server = thinking_server(switchable, refused, inline)
    (first, second), notes = await ask(server, LETTERS, LETTERS)
    assert first == second
    assert first.text == "B"
    assert 0.5 < first.choice_probs[1] < 1
    assert len(server.bodies) == requests + 1
    assert "thoughts" in notes


async def ask_together(server: NullServer, n: int = 20) -> tuple[list[Completion], Dialect]:
    """Choices that are all in flight before the first of them is answered."""
    server.keep_bodies, server.latency_s = True, 0.3
    with run_null_server(server):
        async with Client([server.url], "null") as client:
            asked = [client.complete([user(f"question {i}")], LETTERS) for i in range(n)]
            answers = await asyncio.gather(*asked)
            return answers, client._router.endpoints[0].dialect


async def test_thinking_is_switched_off_for_calls_in_flight_together() -> None:
    count = 0

    def rewrite(answer: Body) -> None:
        nonlocal count
        count += 1
        if count <= 20:  # those in flight together
            answer["choices"][0] |= {"finish_reason": "length", "logprobs": None}
            answer["choices"][0]["message"] = {"content": None, "reasoning_content": "Hm"}

    _, dialect = await ask_together(NullServer(rewrite=rewrite))
    assert dialect == Dialect(thoughts=1)


async def test_token_names_are_learned_by_calls_in_flight_together() -> None:
    count = 0

    def rewrite(answer: Body) -> None:
        nonlocal count
        count += 1
        if count <= 20:
            renamed({"A": "token_id:32", "B": "token_id:33"})(answer)

    _, dialect = await ask_together(NullServer(rewrite=rewrite))
    assert dialect == Dialect(names_tokens=True)


async def test_one_odd_answer_makes_no_votes_of_all_others() -> None:
    count = 0

    def rewrite(answer: Body) -> None:
        nonlocal count
        count += 1
        if count == 2:
            without_logprobs(answer)

    with run_null_server(NullServer(rewrite=rewrite)) as server:
        async with Client([server.url], "null") as client:
            await client.complete([user("one")], LETTERS)
            with pytest.raises(CompletionFailed, match="no-choice"):
                await client.complete([user("two")], LETTERS)
            await client.complete([user("three")], LETTERS)
    assert server.counts["requests"] == 3


async def test_what_is_learned_of_two_calls_is_joined(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    one = Dialect(left_out=frozenset({"seed"}), top_logprobs=5)
    other = Dialect(token_limit="max_completion_tokens", constrains=False, thoughts=1)
    joined = Dialect(frozenset({"seed"}), "max_completion_tokens", top_logprobs=5, constrains=False, thoughts=1)
    assert one.merged(other) == other.merged(one) == joined
    assert not Dialect().differences()
    assert len(joined.differences()) == 5


@pytest.mark.parametrize(
    "text",
    [
        "System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Only user and assistant roles are supported!",
    ],
)
async def test_a_model_without_a_system_role_is_told_in_the_first_user_turn(text: str) -> None:
    server = NullServer(refuse=lambda body: text if body["messages"][0]["role"] == "system" else None)
    server.keep_bodies = True
    conversation = [system("Be kind."), user("Hello?"), assistant("Hi."), user("So?")]
    with run_null_server(server):
        async with Client([server.url], "null") as client:
            for limit in (4, 5):
                await client.complete(conversation, Sampling(limit))
            notes = client._router.endpoints[0].notes
    assert [len(body["messages"]) for body in server.bodies] == [4, 3, 3]
    assert server.bodies[-1]["messages"][0] == user("Be kind.\n\nHello?")
    assert "system" in notes
