import pytest
import yaml

from charter.pipeline.answer_text import LANGUAGES, is_foreign, is_known_language, strip_preamble

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
    assert is_known_language("en") and is_known_language("pt_BR") and is_known_language("uk")
    assert not is_known_language("tlh") and not is_known_language("")


def test_every_word_of_the_file_is_text() -> None:
    known = yaml.safe_load(LANGUAGES.read_text(encoding="utf-8"))
    values = [value for group in known.values() for values in group.values() for value in values]
    assert len(values) > 200 and all(isinstance(value, str) for value in values)  # `no` is a truth value in YAML


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("Sure, here is the revised answer: No.", "No."),
        ("Here's a revised version of my response:\n\nNo.", "No."),
        ("Revised answer: No.", "No."),
        ("Here is how: first, then second.", "Here is how: first, then second."),
        ("Sure. To paint: start.", "Sure. To paint: start."),
        ("Here is the rewritten answer:", ""),
    ],
)
def test_preambles_are_stripped_and_answers_are_not(text: str, stripped: str) -> None:
    assert strip_preamble(text) == stripped


@pytest.mark.parametrize(
    "preamble",
    [
        "**Revised response:**",
        "**Revised response**:",
        "**Revised response**\n",
        "## Revised Answer\n\n",
        "The revised response:",
        "**Here is the revised response:**",
        "Sure! Here's a safer response:",
        "Sure! Here\u2019s a revised, more respectful response:\n\n",
        "Certainly! Below is the rewritten response:",
        "Of course. The following is an improved version of the previous answer:",
        "I apologize. Here is a revised response:",
        "I apologize for my last answer, which was wrong.\nRevised response:",
        "I sincerely apologize for the confusion! Here is my revision:",
        "Sure, here is the revised answer.",
        "Okay, here is the revised answer\n\n",
        "Here is a corrected response to your question, without the insult:",
        "Here's a rewritten answer that respects the principle:\n\n**Revised answer:**",
    ],
)
@pytest.mark.parametrize("answer", ["No, I will not: it is theft.", "**No.** It is theft."], ids=["plain", "bold"])
def test_every_way_to_announce_a_revision_goes(preamble: str, answer: str) -> None:
    assert strip_preamble(f"{preamble} {answer}") == answer
    assert strip_preamble(preamble) == ""


@pytest.mark.parametrize(
    "answer",
    [
        "Here is how bees make honey: they gather nectar.",
        "Here is how you write a new response to a customer: thank them first.",
        "Here is a new recipe: flour, water, salt.",
        "Here are some new ideas: a walk, a swim.",
        "Here is a new version of the song: la, la.",
        "Here is a revised version of your letter: Dear Sir or Madam.",
        "Here is an improved version of the poem. Roses are red.",
        "Here is the new answer key: A, B, C.",
        "I'm sorry, but I can't help with that. Here is something safer: call a doctor.",
        "I apologize. I should not have said so.",
        "I'm sorry to hear that. Here are new places to ask: a doctor, a friend.",
        "Sure! Bees make honey: they gather nectar.",
        "**Note:** this is a revised response to a rude question.",
        "New answers come every day. Wait for them.",
        "Certainly.",
        "...",
        "",
    ],
)
def test_an_answer_that_begins_alike_stays(answer: str) -> None:
    assert strip_preamble(answer) == answer
