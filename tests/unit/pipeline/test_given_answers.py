"""Start from answers that exist: they are criticised and revised, and no model is asked for a first answer."""

import json
from pathlib import Path

import pytest

from charter.config import Generation, Prompts
from charter.core.errors import DataError
from charter.core.messages import assistant, user
from charter.data.sources import load_prompts
from charter.pipeline.respond import GIVEN, respond
from charter.pipeline.rows import StageContext
from charter.testing.scripted import ScriptedModel
from tests.support.judge_scripts import LAW

CHAT = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]


def load(folder: Path, rows: list[dict[str, object]], answers: str | None) -> tuple[list[list[object]], list[str]]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_prompts(Prompts(source=str(path), answers=answers), 0)
    return [list(prompt.messages) for prompt in loaded.prompts], [reject.reason for reject in loaded.rejects]


def test_answers_end_the_conversation_or_have_a_column(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"messages": CHAT}, {"messages": CHAT[:1]}]
    assert load(tmp_path, rows, "last-turn") == ([[user("Hi?"), assistant("Hello.")]], ["no-answer"])
    assert load(tmp_path, rows[:1], None) == ([[user("Hi?")]], [])
    rows = [{"prompt": "Hi?", "reply": " Hello. "}, {"prompt": "And?", "reply": ""}, {"prompt": "Ho?"}]
    found, lost = load(tmp_path, rows, "reply")
    assert found == [[user("Hi?"), assistant("Hello.")]]
    assert lost == ["no-answer", "no-answer"]
    rows = [{"chosen": "\n\nHuman: Hi?\n\nAssistant: Hello."}]
    assert load(tmp_path, rows, "last-turn") == ([[user("Hi?"), assistant("Hello.")]], [])


def test_two_answers_to_one_prompt_are_two_rows(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "Hi?", "reply": "Hello."}, {"prompt": "Hi?", "reply": "Go away."}]
    found, lost = load(tmp_path, rows, "reply")
    assert (len(found), lost) == (2, [])


async def test_a_given_answer_is_the_response_and_says_so() -> None:
    model = ScriptedModel(lambda messages, sampling: "An answer.")
    context = StageContext(model.ask, LAW, seed=1, model_identity="m")
    asked = {"row_id": "a", "prompt": [user("Hi?")], "kind": None, "source": "s"}
    given = {"row_id": "b", "prompt": [user("Hi?"), assistant("Hello.")], "kind": None, "source": "s"}
    first, second = (await respond([asked, given], context, Generation())).rows
    assert (first["response"], first["model_identity"]) == ("An answer.", "m")
    assert (second["response"], second["model_identity"], second["finish_reason"]) == ("Hello.", GIVEN, GIVEN)
    assert second["prompt"] == [user("Hi?")]
    assert len(model.asked) == 1


@pytest.mark.parametrize("answers", ["last-turn", "reply"])
def test_a_source_without_any_answer_is_an_error(tmp_path: Path, answers: str) -> None:
    with pytest.raises(DataError, match="no-answer"):
        load(tmp_path, [{"prompt": "Hi?"}], answers)
