import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.core.messages import assistant, user
from charter.inference import Completion, Sampling
from charter.inference.completion import request_key


def test_stored_form_comes_back_marked_as_stored() -> None:
    completion = Completion('é "\n\ud83d', "stop", 12, 3, (0.25, 0.75))  # half a pair, as earlier versions kept it
    assert Completion.from_bytes(completion.to_bytes()) == Completion('é "\n\ufffd', "stop", 12, 3, (0.25, 0.75), True)


def test_key_is_pinned() -> None:
    """A change of the key's form would ask everything again: it must not happen by accident."""
    key = request_key("sha256:abc", [user("hello")], Sampling(max_tokens=8, seed=3))
    assert key.hex() == "e23770afa84ac2dc235954165574cf2d78a44fef2891c39d69744a1549a8ad88"


@given(st.text(st.characters(codec=None)), st.floats(0, 2), st.integers(0, 2**31 - 1))
def test_the_key_is_of_canonical_json(text: str, temperature: float, seed: int) -> None:
    """As the json module writes it, whatever writes it: keys of earlier versions stay."""
    sampling = {"choices": ["A", "B"], "max_tokens": 8, "seed": seed, "temperature": temperature, "top_p": 1.0}
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": ""}]
    whole = {"version": 1, "model": text, "messages": messages, "sampling": sampling}
    written = json.dumps(whole, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    key = request_key(text, [user(text), assistant("")], Sampling(8, temperature, seed=seed, choices=("A", "B")))
    assert key == hashlib.sha256(written.encode("utf-8", "surrogatepass")).digest()


BASE = ("m", [user("a"), assistant("b")], Sampling(8))


@pytest.mark.parametrize(
    "other",
    [
        ("n", *BASE[1:]),
        ("m", [user("a"), user("b")], Sampling(8)),
        ("m", [user("ab")], Sampling(8)),
        ("m", BASE[1], Sampling(9)),
        ("m", BASE[1], Sampling(8, temperature=0.5)),
        ("m", BASE[1], Sampling(8, top_p=0.9)),
        ("m", BASE[1], Sampling(8, seed=1)),
        ("m", BASE[1], Sampling(8, choices=("A", "B"))),
        ("m", BASE[1], Sampling(8, choices=("B", "A"))),
        ("m", BASE[1], Sampling(8, choices=("A", "B"), choice_marker="Better:")),
    ],
    ids=["model", "role", "turns", "length", "temperature", "top_p", "seed", "choices", "order", "after"],
)
def test_whatever_determines_the_answer_is_in_the_key(other: tuple[str, list[object], Sampling]) -> None:
    assert request_key(*other) != request_key(*BASE)  # type: ignore[arg-type]


def test_numbers_are_told_apart_by_where_they_end() -> None:
    assert Sampling(2, choices=("1", "10")).choices == ("1", "10")
    with pytest.raises(ValueError, match="starts with"):
        Sampling(2, choices=("1", "1"))


def test_there_is_nothing_to_look_for_without_choices() -> None:
    with pytest.raises(ValueError, match="no choices to look for"):
        Sampling(8, choice_marker="Better:")


def test_choices_must_be_told_apart() -> None:
    with pytest.raises(ValueError, match="'AB' starts with 'A'"):
        Sampling(8, choices=("A", "AB"))
    with pytest.raises(ValueError, match="starts with"):
        Sampling(8, choices=("A", "A"))
