import pytest
import yaml

from charter.pipeline.language import FILE, is_foreign, is_known

ENGLISH = "You can find the answer in the library, and it is not far from here if you walk with your friends."
GERMAN = "Die Antwort ist nicht weit von hier zu finden, und man kann auch mit der Bahn auf den Berg fahren."
RUSSIAN = "Ответ можно найти в библиотеке, она недалеко отсюда."
CHINESE = "答案可以在图书馆里找到。离这里不远。你可以和朋友们一起步行去那里看看书。"
CODE = "x = [f(y) for y in range(10)]; print(sum(x) / len(x)) # mean(f) == 4.5; assert max(x) < 9; return x"


@pytest.mark.parametrize(
    ("text", "language", "foreign"),
    [
        (ENGLISH, "en", False),
        (ENGLISH, "en-GB", False),
        (ENGLISH, "de", True),
        (GERMAN, "de", False),
        (GERMAN, "en", True),
        (RUSSIAN, "en", True),
        (RUSSIAN, "ru", False),
        (CHINESE, "en", True),
        (CHINESE, "zh", False),
        (CHINESE, "ja", False),
        (ENGLISH, "zh", True),
        (f"{ENGLISH} In short: schadenfreude and 图书馆.", "en", False),
        (CODE, "en", False),
        ("Nein.", "en", False),
        ("", "en", False),
    ],
)
def test_what_is_plain_is_told(text: str, language: str, foreign: bool) -> None:
    assert is_foreign(text, language) is foreign


def test_a_language_that_cannot_be_told_is_known_as_such() -> None:
    assert is_known("en") and is_known("pt_BR") and is_known("uk")
    assert not is_known("tlh") and not is_known("")


def test_every_word_of_the_file_is_text() -> None:
    known = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    values = [value for group in known.values() for values in group.values() for value in values]
    assert len(values) > 200 and all(isinstance(value, str) for value in values)  # `no` is a truth value in YAML
