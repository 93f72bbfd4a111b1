"""The client against real servers: what it asks again, what it does not, and what it says."""

import asyncio
import logging
import math
import socket
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from charter.core.errors import CompletionFailed, ServingError
from charter.core.messages import assistant, user
from charter.inference import Client, Completion, Sampling
from charter.inference.client import seconds_of
from charter.inference.routing import Endpoint, Router
from charter.testing.null_server import Misbehaviour, NullServer, run_null_server

HELLO = [user("hello there")]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ask(server: NullServer, sampling: Sampling, n: int = 1, **options: float) -> list[Completion]:
    async with Client([server.url], server.model_name, **options) as client:  # type: ignore[arg-type]
        return await asyncio.gather(*(client.complete([user(f"question {i}")], sampling) for i in range(n)))


async def test_the_request_holds_all_of_the_sampling() -> None:
    with run_null_server(NullServer(keep_bodies=True)) as server:
        await ask(server, Sampling(max_tokens=7, temperature=0.5, top_p=0.9, seed=11))
    assert server.bodies == [
        {
            "model": "null",
            "messages": [user("question 0")],
            "max_tokens": 7,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 11,
        }
    ]


@pytest.mark.parametrize("unknown", [(), ("continue_final_message",)])
async def test_an_answer_that_is_begun_is_to_be_continued(unknown: tuple[str, ...]) -> None:
    begun = [user("how?"), assistant("Sure.")]
    with run_null_server(NullServer(answer=lambda m: " Like this.", keep_bodies=True, unknown=unknown)) as server:
        async with Client([server.url], server.model_name) as client:
            assert (await client.complete(begun, Sampling(9))).text == " Like this."
            await client.complete(begun, Sampling(8))
            await client.complete(HELLO, Sampling(9))
    flags = [(body.get("continue_final_message"), body.get("add_generation_prompt")) for body in server.bodies]
    told, plain = (True, False), (None, None)
    assert flags == ([told, plain, plain, plain] if unknown else [told, told, plain])


async def test_an_answer() -> None:
    with run_null_server(NullServer(answer=lambda messages: "as you " + messages[-1]["content"])) as server:
        assert await ask(server, Sampling(9)) == [Completion("as you question 0", "stop", 2, 4)]
        assert (await ask(server, Sampling(2)))[0].finish_reason == "length"


async def test_choices_come_with_probabilities() -> None:
    with run_null_server(NullServer(keep_bodies=True)) as server:
        completions = await ask(server, Sampling(4, choices=("A", "B")), n=20)
    assert server.bodies[0]["structured_outputs"] == {"choice": ["A", "B"]}
    for completion in completions:
        assert sum(completion.choice_probs) == pytest.approx(1)
        assert completion.text == "AB"[completion.choice_probs.index(max(completion.choice_probs))]
    assert len({completion.choice_probs for completion in completions}) > 10


async def test_a_server_without_constraints_is_asked_for_log_probabilities_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with run_null_server(NullServer(unknown=("structured_outputs",), answer=lambda messages: "B")) as server:
        async with Client([server.url], "null") as client:
            first = await client.complete(HELLO, Sampling(4, choices=("A", "B")))
            await client.complete(HELLO, Sampling(5, choices=("A", "B")))
        assert server.counts["requests"] == 3
        both = await ask(server, Sampling(4, choices=("A", "B")), n=20)
    assert {answer.text for answer in [first, *both]} == {"B"}
    assert first.choice_probs == (0.0, 1.0)
    assert "cannot constrain" in caplog.text


async def test_a_choice_after_free_words_comes_with_its_probabilities() -> None:
    def answer(messages):
        return "It is about theft. Better: B"

    sampling = Sampling(20, choices=("A", "B"), choice_marker="Better:")
    with run_null_server(NullServer(answer=answer, keep_bodies=True)) as server:
        (completion,) = await ask(server, sampling)
        assert (await ask(server, Sampling(4, choices=("A", "B"), choice_marker="Better:")))[0].choice_probs == ()
    assert completion == Completion("It is about theft. Better: B", "stop", 2, 6, choice_probs=(0.0, 1.0))
    assert "structured_outputs" not in server.bodies[0]
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 5)


@pytest.mark.parametrize("end", ["Better: **A**", "**Better:** A", 'Better: "A"', "Better: (A)"])
async def test_markup_about_a_choice_does_not_hide_its_probabilities(end: str) -> None:
    with run_null_server(NullServer(answer=lambda messages: f"It is about theft. {end}")) as server:
        (completion,) = await ask(server, Sampling(20, choices=("A", "B"), choice_marker="Better:"))
        assert completion.choice_probs == (1.0, 0.0)


async def test_an_answer_that_is_no_choice_is_a_failure() -> None:
    undecided = NullServer(unknown=("structured_outputs",), answer=lambda messages: "Perhaps")
    with run_null_server(undecided) as server, pytest.raises(CompletionFailed, match="no-choice"):
        await ask(server, Sampling(4, choices=("A", "B")))


async def test_an_answer_that_is_no_choice_is_told_in_full_where_nothing_constrains_it() -> None:
    refusal = "I'm sorry, but I cannot help with that."
    undecided = NullServer(unknown=("structured_outputs",), answer=lambda messages: refusal, keep_bodies=True)
    with run_null_server(undecided) as server, pytest.raises(CompletionFailed) as caught:
        await ask(server, Sampling(1, choices=("A", "B")))
    assert (caught.value.reason, caught.value.detail) == ("no-choice", refusal)
    assert [body["max_tokens"] for body in server.bodies] == [1, 32]


async def test_a_server_that_ignores_constraints_is_found_out_by_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    refusal = "I'm sorry, but I cannot help with that."
    pretending = NullServer(ignored=("structured_outputs",), answer=lambda messages: refusal, keep_bodies=True)
    with run_null_server(pretending) as server, pytest.raises(CompletionFailed) as caught:
        await ask(server, Sampling(1, choices=("A", "B")))
    assert (caught.value.reason, caught.value.detail) == ("no-choice", refusal)
    assert ["structured_outputs" in body for body in server.bodies] == [True, False]
    assert "cannot constrain" in caplog.text


@pytest.mark.parametrize("choices", [("A", "B"), tuple(map(str, range(1, 11)))], ids=["letters", "numbers"])
async def test_all_top_tokens_are_asked_for_as_a_server_may_ignore_the_choices(choices: tuple[str, ...]) -> None:
    with run_null_server(NullServer(keep_bodies=True)) as server:
        await ask(server, Sampling(1, choices=choices))
    assert [(body["max_tokens"], body["top_logprobs"]) for body in server.bodies] == [(1, 20)]


async def test_too_long_is_not_asked_twice() -> None:
    with run_null_server(NullServer(max_model_len=10)) as server, pytest.raises(CompletionFailed) as caught:
        await ask(server, Sampling(100))
    assert caught.value.reason == "context-too-long"
    assert server.counts["requests"] == 1


async def test_other_refusals_are_not_asked_twice() -> None:
    wrong = NullServer(misbehaviour=Misbehaviour(error_share=1, error_status=422, times=9))
    with run_null_server(wrong) as server, pytest.raises(CompletionFailed) as caught:
        await ask(server, Sampling(4))
    assert (caught.value.reason, caught.value.detail) == ("bad-request", "status 422: told to fail")
    assert server.counts["requests"] == 1


@pytest.mark.parametrize(
    "misbehaviour",
    [
        Misbehaviour(error_share=0.3, error_status=500),
        Misbehaviour(error_share=0.3, error_status=429, retry_after_s=0.05),
        Misbehaviour(malformed_share=0.3),
        Misbehaviour(truncated_share=0.3),
        pytest.param(Misbehaviour(slow_share=0.3, slow_s=60), marks=pytest.mark.slow),
        Misbehaviour(error_share=0.1, malformed_share=0.1, truncated_share=0.1, slow_share=0.1, slow_s=60),
    ],
    ids=["500", "429", "malformed", "truncated", "slow", "all"],
)
async def test_faults_that_pass_are_asked_again(misbehaviour: Misbehaviour) -> None:
    with run_null_server(NullServer()) as server:
        right = await ask(server, Sampling(8), n=60)
    with run_null_server(NullServer(misbehaviour=misbehaviour)) as server:
        timeout_s = 4.0 if misbehaviour.slow_share else 60.0  # long enough for a busy machine
        assert await ask(server, Sampling(8), n=60, timeout_s=timeout_s) == right
    faults = sum(server.counts[fault] for fault in ("errors", "malformed", "truncated", "slow"))
    assert 10 < faults < 40
    assert server.counts["requests"] >= 60 + faults


async def test_retry_after_is_honoured() -> None:
    busy = NullServer(misbehaviour=Misbehaviour(error_share=1, error_status=503, retry_after_s=0.6))
    with run_null_server(busy) as server:
        began = time.monotonic()
        await ask(server, Sampling(4))
    assert time.monotonic() - began > 0.55


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("nan", None),
        ("soon", None),
        ("inf", math.inf),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_what_retry_after_says(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert 28 < (seconds_of(formatdate(time.time() + 30, usegmt=True)) or 0) <= 30


async def test_an_endpoint_that_asks_for_a_pause_is_asked_nothing_meanwhile() -> None:
    busy = Misbehaviour(error_share=1, error_status=429, retry_after_s=1.5)
    with run_null_server(NullServer(misbehaviour=busy)) as server:
        async with Client([server.url], "null") as client:
            began = time.monotonic()
            first = asyncio.create_task(client.complete(HELLO, Sampling(4)))
            await asyncio.sleep(0.5)
            assert server.counts["requests"] == 1
            server.misbehaviour = Misbehaviour()
            others = [client.complete([user(f"question {i}")], Sampling(4)) for i in range(20)]
            await asyncio.gather(first, *others)
            assert time.monotonic() - began > 1.5
            assert client.retries == 1


async def test_a_pause_that_is_longer_than_the_patience_is_not_waited_for() -> None:
    busy = Misbehaviour(error_share=1, error_status=503, retry_after_s=3600, times=math.inf)
    with run_null_server(NullServer(misbehaviour=busy)) as server:
        began = time.monotonic()
        with pytest.raises(ServingError, match=r"no answer for .* Start the server again"):
            await ask(server, Sampling(4), patience_s=1.0)
    assert time.monotonic() - began < 15


async def ask_both(one: NullServer, two: NullServer, n: int = 60, **options: float) -> list[Completion]:
    async with Client([one.url, two.url], "null", **options) as client:  # type: ignore[arg-type]
        asked = [client.complete([user(f"question {i}")], Sampling(8)) for i in range(n)]
        return await asyncio.wait_for(asyncio.gather(*asked), 40)


@pytest.mark.parametrize(
    "misbehaviour",
    [
        Misbehaviour(error_share=1, error_status=500, times=math.inf),
        Misbehaviour(error_share=1, error_status=503, times=math.inf),
        Misbehaviour(error_share=1, error_status=429, retry_after_s=0.1, times=math.inf),
        Misbehaviour(error_share=1, error_status=401, times=math.inf),
        Misbehaviour(malformed_share=1, times=math.inf),
        Misbehaviour(slow_share=1, slow_s=3600, times=math.inf),
        Misbehaviour(lost_share=1, times=math.inf),
    ],
    ids=["500", "503", "429", "401", "malformed", "hangs", "crashes"],
)
async def test_one_of_two_endpoints_is_ill_for_ever_and_nothing_is_lost(misbehaviour: Misbehaviour) -> None:
    with run_null_server() as server:
        right = await ask(server, Sampling(8), n=60)
    with run_null_server() as well, run_null_server(NullServer(misbehaviour=misbehaviour)) as ill:
        assert await ask_both(well, ill, timeout_s=2.0) == right
    assert well.counts["answered"] == 60
    assert 10 < ill.counts["requests"] < 60


async def test_an_endpoint_that_is_ill_is_left_out_until_it_answers(caplog: pytest.LogCaptureFixture) -> None:
    ill = Misbehaviour(error_share=1, error_status=503, times=math.inf)
    with run_null_server() as one, run_null_server(NullServer(misbehaviour=ill)) as two:
        async with Client([one.url, two.url], "null") as client:

            async def some(name: str) -> None:
                await asyncio.gather(*(client.complete([user(f"{name} {i}")], Sampling(8)) for i in range(20)))

            await some("ill")
            retries = client.retries
            for number in range(20):  # it is looked at meanwhile, and no call pays for that
                await some(f"while {number}")
                await asyncio.sleep(0.1)
            assert client.retries == retries
            two.misbehaviour = Misbehaviour()
            while not two.counts["answered"]:
                await some("again")
                await asyncio.sleep(0.1)
            await some("well")
    assert two.counts["answered"] > 5
    assert f"{two.url} does not answer (status 503: told to fail); waiting for it to come back" in caplog.text
    assert f"{two.url} answers again" in caplog.text


@pytest.mark.parametrize("outage_s", [2.0, pytest.param(20.0, marks=pytest.mark.slow)])
async def test_all_endpoints_say_502_for_a_while_and_nothing_is_lost(outage_s: float) -> None:
    """As a proxy does whose servers are gone; many calls started before that, and others were answered meanwhile."""
    servers = [NullServer(latency_s=0.1) for _ in range(2)]
    with run_null_server(servers[0]) as one, run_null_server(servers[1]) as two:
        async with Client([one.url, two.url], "null") as client:

            async def asked(number: int) -> Completion:
                await asyncio.sleep(number * 0.005)
                return await client.complete([user(f"question {number}")], Sampling(8))

            asking = asyncio.gather(*(asked(i) for i in range(200)))
            await asyncio.sleep(0.5)
            for server in servers:
                server.misbehaviour = Misbehaviour(error_share=1, error_status=502, times=math.inf)
            await asyncio.sleep(outage_s)
            before = one.counts["answered"] + two.counts["answered"]
            for server in servers:
                server.misbehaviour = Misbehaviour()
            assert len(await asyncio.wait_for(asking, 30)) == 200
    assert 0 < before < 200


@pytest.mark.slow
async def test_requests_that_are_themselves_the_trouble_become_the_rows_failures() -> None:
    """Those that a server always answers with 500 or crashes at, though nothing else is asked any more by then."""
    troubled = Misbehaviour(error_share=0.05, error_status=500, lost_share=0.05, times=math.inf)
    with run_null_server(NullServer(misbehaviour=troubled)) as server:
        async with Client([server.url], "null", patience_s=60) as client:
            asked = [client.complete([user(f"question {i}")], Sampling(8)) for i in range(100)]
            ended = await asyncio.gather(*asked, return_exceptions=True)
    lost = [one for one in ended if isinstance(one, BaseException)]
    assert 2 <= len(lost) <= 20 and server.counts["answered"] >= 100 - len(lost)
    assert {one.reason for one in lost if isinstance(one, CompletionFailed)} == {"endpoint-error", "unreachable"}


@pytest.mark.parametrize(
    ("misbehaviour", "reason"),
    [
        (Misbehaviour(malformed_share=1, times=99), "malformed-answer"),
        (Misbehaviour(slow_share=1, slow_s=60, times=99), "timeout"),
    ],
    ids=["malformed", "slow"],
)
async def test_faults_that_stay_become_the_rows_failure(misbehaviour: Misbehaviour, reason: str) -> None:
    with run_null_server(NullServer(misbehaviour=misbehaviour)) as server, pytest.raises(CompletionFailed) as caught:
        await ask(server, Sampling(4), timeout_s=0.5 if reason == "timeout" else 60.0)
    assert caught.value.reason == reason
    assert server.counts["requests"] <= 4


async def test_a_wrong_key_is_told_without_the_key(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CHARTER_API_KEY", "wrong-secret")
    with run_null_server(NullServer(api_key="right-secret")) as server:
        with pytest.raises(ServingError, match=r"\$CHARTER_API_KEY is refused") as caught:
            await ask(server, Sampling(4))
        monkeypatch.setenv("CHARTER_API_KEY", "right-secret")
        assert len(await ask(server, Sampling(4))) == 1
    assert "secret" not in str(caught.value) + caplog.text


async def test_servers_that_are_gone_for_good() -> None:
    url = f"http://127.0.0.1:{closed_port()}/v1"
    began = time.monotonic()
    async with Client([url], "null", patience_s=1.0) as client:
        with pytest.raises(ServingError, match=f"base_urls '{url}': no answer for .*finished calls are kept"):
            await client.complete(HELLO, Sampling(4))
    assert 1.0 < time.monotonic() - began < 15


async def test_a_server_that_comes_back_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    port = closed_port()
    async with Client([f"http://127.0.0.1:{port}/v1"], "null") as client:
        waiting = asyncio.create_task(client.complete(HELLO, Sampling(4)))
        await asyncio.sleep(1.5)
        assert not waiting.done()
        with run_null_server(port=port):
            assert (await asyncio.wait_for(waiting, 20)).text
    assert "cannot be reached" in caplog.text
    assert "answers again" in caplog.text


async def test_a_started_server_that_died_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("torch.OutOfMemoryError: CUDA out of memory\n")
    async with Client([f"http://127.0.0.1:{closed_port()}/v1"], "null", server_log=log) as client:
        with pytest.raises(ServingError, match="out of memory"):
            await asyncio.wait_for(client.complete(HELLO, Sampling(4)), 5)


async def test_another_endpoint_takes_over() -> None:
    with run_null_server() as one, run_null_server() as two:
        async with Client([one.url, two.url, f"http://127.0.0.1:{closed_port()}/v1"], "null") as client:
            asked = [client.complete([user(f"question {i}")], Sampling(4)) for i in range(60)]
            assert len(await asyncio.wait_for(asyncio.gather(*asked), 10)) == 60
    assert one.counts["answered"] + two.counts["answered"] == 60
    assert min(one.counts["answered"], two.counts["answered"]) > 10


def test_a_conversation_stays_where_its_beginning_is() -> None:
    router = Router([Endpoint(f"http://host{i}/v1") for i in range(3)])
    homes = {text: router.choose(text, 0.0) for text in map(str, range(90))}
    assert {text: router.choose(text, 1.0) for text in homes} == homes
    assert all(20 <= list(homes.values()).count(endpoint) <= 40 for endpoint in router.endpoints)


def test_busy_and_lost_endpoints_are_left_out() -> None:
    router = Router([Endpoint("http://one/v1"), Endpoint("http://two/v1")])
    home = router.choose("hello", 0.0)
    other = next(endpoint for endpoint in router.endpoints if endpoint is not home)
    home.in_flight = router.slack + 1
    assert router.choose("hello", 0.0) is other
    home.in_flight = 0
    home.failed(10.0)
    assert router.choose("hello", 10.1) is router.choose("hello", 11.0) is other
    assert (router.due_for_probe(10.1), router.due_for_probe(10.5)) == ([], [home])
    other.failed(10.0)
    assert router.choose("hello", 10.1) is None
    home.succeeded()
    assert router.choose("hello", 11.0) is home
    home.paused_until = 12.0
    assert router.choose("hello", 11.0) is None
    assert router.choose("hello", 12.0) is home


def test_a_call_goes_where_it_has_failed_least() -> None:
    router = Router.of([f"http://host{i}/v1" for i in range(3)])
    failed = list[Endpoint | None]()
    for _ in range(6):
        failed.append(router.choose("hello", 0.0, [one for one in failed if one]))
    assert {*failed[:3]} == {*failed[3:]} == {*router.endpoints}


def test_errors_are_the_endpoints_fault_when_they_come_in_a_row() -> None:
    router = Router.of(["http://one/v1", "http://two/v1"])
    one, two = router.endpoints
    for at in (1.0, 2.0):
        one.failed(at, began=at, certain=False)
    one.succeeded()
    for at in (3.0, 4.0, 5.0):
        assert one.is_healthy(at)
        one.failed(at, began=at, certain=False)
    assert not one.is_healthy(math.inf)
    for _ in range(2000):
        one.failed(100.0)
    assert (router.due_for_probe(129.0), router.due_for_probe(130.0)) == ([], [one])
    two.failed(100.0)
    assert router.due_for_probe(105.0) == [one, two]  # none is well
    router.record_recovery(two)
    assert two.is_healthy(105.0) and router.due_for_probe(105.0) == [one]
