import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.config import Prompts
from charter.core.text import runs_of, split_words
from charter.data.duplicates import near_duplicates
from charter.data.sources import load_prompts

LONG = "how do i get a stain of red wine out of a white cotton shirt before the party tonight"


def overlap(one: str, other: str) -> float:
    a, b = (set(runs_of(split_words(text), 3)) for text in (one, other))
    return len(a & b) / len(a | b) if a | b else 0.0


def test_a_text_with_a_word_more_repeats_the_earlier_one() -> None:
    texts = ["What is rust?", LONG, "What is rye?", f"{LONG} please", LONG.upper()]
    found = near_duplicates(texts, 0.8)
    assert [(one.number, one.of) for one in found] == [(3, 1), (4, 1)]
    assert [round(one.overlap, 3) for one in found] == [round(17 / 18, 3), 1.0]
    assert near_duplicates(texts[:4], 0.95) == []


def test_a_text_that_left_has_no_part_in_what_comes_after() -> None:
    words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]
    chain = [" ".join(words[start : start + 8]) for start in range(3)]
    assert overlap(chain[0], chain[1]) == pytest.approx(5 / 7) and overlap(chain[0], chain[2]) == pytest.approx(0.5)
    assert [one.number for one in near_duplicates(chain, 0.7)] == [1]  # the third repeats the second alone


@settings(deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join), max_size=12),
    threshold=st.sampled_from([0.2, 0.5, 0.7, 0.8, 1.0]),
)
def test_it_finds_what_comparing_every_two_finds(texts: list[str], threshold: float) -> None:
    stay, repeats = list[int](), list[int]()
    for number, text in enumerate(texts):
        is_repeat = any(overlap(text, texts[other]) >= threshold for other in stay)
        (repeats if is_repeat else stay).append(number)
    assert [one.number for one in near_duplicates(texts, threshold)] == repeats


def test_near_duplicates_among_prompts_are_rejects_with_the_one_they_repeat(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    prompts = [LONG, "What is rust?", f"{LONG} please", LONG.title()]
    path.write_text("".join(json.dumps({"id": f"p{i}", "prompt": text}) + "\n" for i, text in enumerate(prompts)))
    loaded = load_prompts(Prompts(source=str(path), near_duplicates=0.8), 0)
    assert [prompt.row_id for prompt in loaded.prompts] == ["p0", "p1"]
    assert [(reject.row_id, reject.reason) for reject in loaded.rejects] == [
        ("p2", "near-duplicate"),
        ("p3", "duplicate"),
    ]
    assert "'p0'" in loaded.rejects[0].detail and loaded.read == 4
    assert len(load_prompts(Prompts(source=str(path)), 0).prompts) == 3  # off unless asked for


def test_many_texts_of_one_mould_are_found_exactly() -> None:
    lot = random.Random(1)
    texts = [f"tell me how to {lot.choice('abcdefgh')} the {lot.choice('stuvwxyz')} at home" for _ in range(400)]
    assert len(texts) - len(near_duplicates(texts, 1.0)) == len(set(texts))
