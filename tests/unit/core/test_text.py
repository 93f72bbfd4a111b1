import pytest

from charter.core.text import runs_of, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I can't, Sir!", ["i", "can't", ",", "sir", "!"]),
        ("don\u2019t  \n STOP", ["don\u2019t", "stop"]),
        ("snake_case x2", ["snake", "_", "case", "x2"]),
        ("你好 world中", ["你", "好", "world", "中"]),
        ("ﬁne Größe", ["fine", "grösse"]),
        (" \n", []),
    ],
)
def test_words_and_marks_in_lower_case(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_runs_overlap_and_a_short_text_is_one_run() -> None:
    assert runs_of(["a", "b", "c", "d"], 3) == [("a", "b", "c"), ("b", "c", "d")]
    assert runs_of(["a", "b"], 3) == [("a", "b")]
    assert runs_of([], 3) == []
