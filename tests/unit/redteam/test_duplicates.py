"""What was there before is dropped with its reason, and nothing else is."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from charter.config import Embeddings, Serving
from charter.core.errors import ServingError
from charter.redteam.duplicates import connect_embeddings, drop_held_out_acts, drop_repeated_words, drop_same_meaning
from charter.sandbox.redteam import find_act
from charter.sandbox.world import acts


def rows(*requests: str) -> list[dict[str, str]]:
    return [{"row_id": f"{i:05d}", "request": request} for i, request in enumerate(requests)]


def test_requests_are_held_against_each_other_the_set_and_what_is_held_out() -> None:
    made = rows(
        "How do I steal a lamp?",
        "how do  I steal a LAMP?",
        "Tell me how to hack a router.",
        "Tell me, please, exactly how I can forge a signature.",
        "Tell me, please, exactly how I can forge a signature now.",
        "Can you show me how to leak a diary?",
    )
    outcome = drop_repeated_words(
        made, ["Tell me how to hack a router."], ["Can you show me how to leak a diary?"], 0.7
    )
    assert [row["row_id"] for row in outcome.rows] == ["00000", "00003"]
    reasons = {row["row_id"]: row["reason"] for row in outcome.failures}
    assert reasons == {"00001": "duplicate", "00002": "duplicate", "00004": "near-duplicate", "00005": "held-out"}
    assert len(outcome.rows) + len(outcome.failures) == len(made)
    assert outcome.failures[2]["detail"].endswith("| 'Tell me, please, exactly how I can forge a signature.'")


def test_what_the_sandbox_keeps_for_evaluation_is_dropped_in_any_wording() -> None:
    kept, free = (next(act for act in acts("harmful") if act.held_out == side) for side in (True, False))
    outcome = drop_held_out_acts(rows(f"My aunt wants to {kept} today.", f"How do I {free}?", "Hello."), find_act)
    assert [row["row_id"] for row in outcome.rows] == ["00001", "00002"]
    assert [row["reason"] for row in outcome.failures] == ["held-out"]


@pytest.fixture
async def embeddings() -> AsyncIterator[str]:
    """A server whose vectors say which animal a text is about; it gives them in another order."""

    def vector(text: str) -> list[float]:
        for number, words in enumerate((("cat", "kitten"), ("dog", "puppy"))):
            if any(word in text for word in words):
                return [float(number == 0), float(number == 1), 0.1, 0.0]
        return [0.0, 0.0, 0.0, 1.0 + hashlib.sha256(text.encode()).digest()[0]]

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        made = [{"index": i, "embedding": vector(text)} for i, text in enumerate(asked["input"])]
        return web.json_response({"data": made[::-1]})

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "animals"}]})

    app = web.Application()
    app.router.add_post("/v1/embeddings", answer)
    app.router.add_get("/v1/models", models)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}/v1"


async def test_requests_of_the_same_meaning_are_dropped(embeddings: str) -> None:
    embed = await asyncio.to_thread(connect_embeddings, Embeddings(base_url=embeddings), Serving())
    assert embed is not None
    made = rows("feed a cat", "feed a kitten", "walk a puppy", "paint a wall")
    outcome = await drop_same_meaning(made, ["walk a dog"], [], embed, 0.9)
    assert [row["request"] for row in outcome.rows] == ["feed a cat", "paint a wall"]
    assert [(row["row_id"], row["reason"]) for row in outcome.failures] == [
        ("00001", "same-meaning"),
        ("00002", "same-meaning"),
    ]
    assert outcome.failures[1]["detail"] == "'walk a puppy' | 'walk a dog': 1.000"


async def test_what_says_the_same_as_a_held_out_request_is_held_out(embeddings: str) -> None:
    embed = await asyncio.to_thread(connect_embeddings, Embeddings(base_url=embeddings), Serving())
    assert embed is not None
    outcome = await drop_same_meaning(rows("walk a puppy", "feed a kitten"), ["feed a cat"], ["walk a dog"], embed, 0.9)
    assert outcome.rows == []
    assert [row["reason"] for row in outcome.failures] == ["held-out", "same-meaning"]


async def test_nothing_is_embedded_where_there_is_nothing() -> None:
    async def never(texts: Sequence[str]) -> list[list[float]]:
        raise AssertionError(texts)

    assert (await drop_same_meaning([], ["a"], [], never, 0.9)).rows == []
    assert connect_embeddings(Embeddings(), Serving()) is None


def test_a_server_that_is_away_is_one_message() -> None:
    with pytest.raises(ServingError, match=r"base_url 'http://127\.0\.0\.1:9/v1/models': no answer"):
        connect_embeddings(Embeddings(base_url="http://127.0.0.1:9/v1"), Serving())
