import pytest

from charter.pipeline.loops import before_loop, is_looping, trim_to_sentence

TALE = " ".join(f"Word {i} differs from word {i + 1}." for i in range(40))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It is bad. " + "I will not say it again. " * 6 + "I will", "It is bad. I will not say it again."),
        ("so " * 60, "so"),
        ("Step one.\n" + "- Go left.\n- Go right.\n" * 9, "Step one.\n- Go left.\n- Go right."),
    ],
)
def test_a_loop_ends_with_its_first_repetition(text: str, kept: str) -> None:
    assert is_looping(text)
    assert before_loop(text) == kept


@pytest.mark.parametrize("text", ["", "No.", "No, no, no!", TALE, "ha " * 5, "Buy milk. Buy bread. Buy milk."])
def test_what_is_no_loop_stays(text: str) -> None:
    assert not is_looping(text)
    assert before_loop(text) == text


def test_a_long_text_of_few_phrases_loops_without_a_period() -> None:
    lines = [f"{i}. The answer is harmful because it helps with a crime that is harmful." for i in range(20)]
    assert is_looping("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One. Two thr", "One."),
        ('He said "stop." Then h', 'He said "stop."'),
        ("It costs 3.5 euros. And 4.", "It costs 3.5 euros. And 4."),
        ("**Yes!** No", "**Yes!**"),
        ("1. First.\n2. Second.\n3.", "1. First.\n2. Second."),
        ("Run this.\n```sh\nls\n", "Run this."),
        ("\u597d\u7684\u3002\u6211\u4e0d", "\u597d\u7684\u3002"),
        ("no end at all", ""),
    ],
)
def test_a_cut_text_ends_at_its_last_whole_sentence(text: str, kept: str) -> None:
    assert trim_to_sentence(text) == kept
