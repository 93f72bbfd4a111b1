import pytest

from charter.core.messages import Messages, assistant, system, user
from charter.data.conversations import in_test, prompt_group
from charter.pipeline.pair import in_sft_half

MANY = [[user(f"How do I do thing {i}?")] for i in range(4000)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([user("What is theft?")], [user("what  is\nTHEFT?")], True),
        ([user("What is theft?")], [user("What is theft")], False),
        ([user("Hello")], [system("Hello")], False),
        ([user("a"), assistant("b"), user("c")], [user("a b c")], False),
    ],
    ids=["case and spacing", "words", "roles", "turns"],
)
def test_a_group_is_the_words_of_a_conversation(one: Messages, other: Messages, same: bool) -> None:
    assert (prompt_group(one) == prompt_group(other)) is same


def test_the_share_is_met_and_a_larger_one_only_adds() -> None:
    small, large = ({str(p) for p in MANY if in_test(p, share)} for share in (0.05, 0.2))
    assert small < large
    assert len(small) / len(MANY) == pytest.approx(0.05, abs=0.012)
    assert len(large) / len(MANY) == pytest.approx(0.2, abs=0.02)
    assert not any(in_test(p, 0.0) for p in MANY)


def test_the_halves_of_training_are_tested_alike() -> None:
    tested = [p for p in MANY if in_test(p, 0.2)]
    assert sum(in_sft_half(p, 0.5) for p in tested) / len(tested) == pytest.approx(0.5, abs=0.06)
