"""Thoughts are separated from an answer, in every form in which servers leave them in the text."""

import pytest

from charter.inference.thoughts import split_thoughts


@pytest.mark.parametrize(
    "text",
    [
        "<think>Hm.</think>Paris.",
        "<think>\nHm.\n</think>\n\nParis.",
        "  <think>Hm.</think> Paris.  ",
        "Hm.</think>\nParis.",
        "<THINK>Hm.</THINK>Paris.",
        "< think >Hm.</ think >Paris.",
        "<thinking>Hm.</thinking>Paris.",
        "<thought>Hm.</thought>Paris.",
        "<seed:think>Hm.</seed:think>Paris.",
        "[THINK]Hm.[/THINK]Paris.",
        "◁think▷Hm.◁/think▷Paris.",
        "Paris.\n<think>Hm.",
    ],
)
def test_thoughts_are_split_off(text: str) -> None:
    assert split_thoughts(text) == ("Paris.", "Hm.")


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("<think>One.</think>Paris. <think>Two.</think>Rome.", "Paris. Rome.", "One.\n\nTwo."),
        ("<think>Is <think> a tag?</think>Paris.", "Paris.", "Is <think> a tag?"),
        ("<think>One.<think>Two.</think>Three.</think>Paris.", "Paris.", "One.<think>Two.\n\nThree."),
        ("One.</think>Two.</think>Paris.", "Paris.", "One.\n\nTwo."),
        ("<think></think>Paris.", "Paris.", ""),
        ("<think>\n\n</think>\n\nParis.", "Paris.", ""),
        ("<think>One. Two.", "", "One. Two."),
        ("<think>One.</think>\n", "", "One."),
        ("<think>", "", "<think>"),
        ("<think>\n</think>\n", "", "<think>\n</think>"),
    ],
)
def test_any_number_of_blocks_closed_or_not(text: str, answer: str, thinking: str) -> None:
    assert split_thoughts(text) == (answer, thinking)


@pytest.mark.parametrize("end", ["", "<|return|>"])
def test_the_channels_of_gpt_oss(end: str) -> None:
    text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Paris." + end
    answer, thinking = split_thoughts(text)
    assert answer == "Paris."
    assert "Hm." in thinking
    assert split_thoughts("<|channel|>analysis<|message|>Hm. Or")[0] == ""


@pytest.mark.parametrize(
    "text",
    [
        " Paris. I think so; a < b and b > c.\n",
        "The <think> tag opens a block.",
        "Models use `<think>` and `</think>`.",
        "Like this:\n```xml\n<think>\nHm.\n</think>\n```\nThat is all.",
    ],
)
def test_an_answer_about_thoughts_is_left_as_it_is(text: str) -> None:
    assert split_thoughts(text) == (text, "")
