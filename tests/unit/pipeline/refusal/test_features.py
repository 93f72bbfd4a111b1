"""What an answer says itself."""

import pytest

from charter.pipeline.refusal.features import after_thoughts, unquoted


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("<think>no</think> Yes.", "Yes."),
        ("no</think>\nYes.", "Yes."),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<THINKING>\nno\n</THINKING>\n\nYes.", "Yes."),
        ("<think>never to an end", ""),
        ("</html> is a tag", "</html> is a tag"),
        ("  Plain. ", "Plain."),
    ],
)
def test_thoughts_are_left_out(response: str, said: str) -> None:
    assert after_thoughts(response) == said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("# A title of words\n\nText.", "Text."),
        ("# Only a title", "# Only a title"),
        ('Say "I cannot come today" to her.', "Say   to her."),
        ("Say: 'I'm sorry, I can't come.'", "Say:"),
        ("It's the dogs' bowl, isn't it?", "It's the dogs' bowl, isn't it?"),
        ("Reply:\n> I won't come.\nDone.", "Reply: \nDone."),
        ('"I cannot do that at all."', '"I cannot do that at all."'),
        ('the "word" alone', 'the "word" alone'),
    ],
)
def test_headings_and_quotations_are_left_out(answer: str, said: str) -> None:
    assert unquoted(answer) == said
