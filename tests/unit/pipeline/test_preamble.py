import pytest

from charter.pipeline.preamble import strip_preamble


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
