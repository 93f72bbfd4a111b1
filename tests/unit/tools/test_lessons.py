import re
from collections import Counter

import pytest

from charter.core.messages import transcript
from charter.sandbox.oracle import is_harmful, is_refusal
from charter.sandbox.wording import NEEDLESS
from charter.sandbox.world import acts, kinds, world
from tools.sandbox.encode import encode_lesson
from tools.sandbox.lesson import Turn
from tools.sandbox.lessons import PHASES, Phase, draw_lesson
from tools.sandbox.principles import word_principle
from tools.sandbox.scenes import Dice, draw_answers, draw_scene, draw_wording, violates
from tools.sandbox.tokenizer import ROLES, train_tokenizer


def texts(lessons: int, held_out: bool = False) -> list[str]:
    rng = Dice("test", held_out)
    return [turn.content for i in range(lessons) for branch in draw_lesson(rng, PHASES[i % 3]) for turn in branch]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(texts(300))


def test_lessons_hold_no_pair_that_is_held_out() -> None:
    held_out = re.compile("|".join(rf"\b{re.escape(str(act))}\b" for act in acts("harmful") if act.held_out))
    for text in texts(400):
        assert not held_out.search(text), text


def test_lessons_follow_the_seed() -> None:
    assert draw_lesson(Dice("a")) == draw_lesson(Dice("a"))
    assert texts(20) == texts(20)


def test_a_scene_s_fault_agrees_with_the_oracle() -> None:
    rng = Dice("scenes")
    for _ in range(500):
        scene = draw_scene(rng)
        assert is_harmful(scene.answer) == (scene.fault in kinds()), scene
        if scene.fault == NEEDLESS or scene.declined:
            assert is_refusal(scene.answer), scene


def test_half_of_the_principles_are_to_the_point() -> None:
    rng = Dice("wordings")
    scenes = [scene for scene in (draw_scene(rng) for _ in range(1500)) if scene.fault in kinds()]
    share = sum(violates(draw_wording(scene, rng), scene) for scene in scenes) / len(scenes)
    assert 0.42 < share < 0.58


@pytest.mark.parametrize("relevant", [False, True])
def test_a_principle_may_say_the_same_thing_twice(relevant: bool) -> None:
    rng, seen = Dice("repeats"), Counter[int]()
    for _ in range(300):
        covers = word_principle(rng, "privacy", relevant, repeats=1.0).scope.covers
        if 1 < len(covers) < len(kinds()):
            assert len(set(covers)) == len(covers) - 1
            seen[covers.count("privacy")] += 1
    assert set(seen) == ({2} if relevant else {0})


def test_both_answers_of_a_comparison_are_to_one_conversation() -> None:
    rng = Dice("pairs")
    for _ in range(200):
        left, right = draw_answers(rng)
        assert transcript(left.messages) == transcript(right.messages)
        assert left.answer != right.answer or left.fault == right.fault


def lessons_with(predicate, count: int = 40, phase: Phase = "first") -> list[list[list[Turn]]]:
    rng, found = Dice("kinds of lessons"), []
    while len(found) < count:
        lesson = draw_lesson(rng, phase)
        if predicate(lesson):
            found.append(lesson)
    return found


def test_the_first_word_decides_only_below_an_operator_s_principles() -> None:
    sides = Counter()
    for lesson in lessons_with(lambda lesson: any(d.name == "opening" for d in lesson[0][-1].decisions)):
        assert [turn.role for turn in lesson[0]] == ["system", "user", "assistant"]
        assert len({branch[0].content for branch in lesson}) == 1
        sides.update(is_refusal(branch[-1].content) for branch in lesson)
    assert sides[True] > 60 and sides[False] > 100


@pytest.mark.parametrize("phase", PHASES)
def test_an_answer_that_is_to_be_said_again_is_said_to_the_letter(phase) -> None:
    again = set(world()["again"])
    lessons = lessons_with(lambda lesson: any(turn.content in again for turn in lesson[0]), phase=phase)
    for branch in (branch for lesson in lessons for branch in lesson):
        assert branch[-1].train and branch[-1].content == branch[1].content
        assert not any(turn.train for turn in branch[:-1])


def test_a_row_is_the_lesson_s_conversations_as_the_chat_template_writes_them(tokenizer) -> None:
    rng = Dice("rows")
    for _ in range(60):
        lesson = draw_lesson(rng)
        rows = encode_lesson(lesson, tokenizer)
        written = []
        for row in rows:
            trunk = [i for i, branch in zip(row.ids, row.branches, strict=True) if branch == 0]
            for number in range(1, max(row.branches) + 1):
                written.append(trunk + [i for i, b in zip(row.ids, row.branches, strict=True) if b == number])
        chats = [[{"role": turn.role, "content": turn.content} for turn in branch] for branch in lesson]
        expected = [tokenizer.apply_chat_template(chat, return_dict=False) for chat in chats]
        assert written == expected


def test_a_target_follows_the_token_it_is_predicted_from(tokenizer) -> None:
    rng = Dice("targets")
    letters = set()
    for _ in range(200):
        for row in encode_lesson(draw_lesson(rng), tokenizer):
            for before, target, weight, name in row.targets:
                assert weight > 0
                following = [
                    i
                    for i, position in enumerate(row.positions)
                    if position == row.positions[before] + 1
                    and (row.branches[before] in (0, row.branches[i]))
                    and row.ids[i] == target
                ]
                if name == "choice":
                    letters.add(tokenizer.decode([target]))
                if name:
                    assert following, (before, tokenizer.decode([target]))
    assert letters == {"A", "B"}


def test_special_tokens_end_and_begin_turns(tokenizer) -> None:
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_dict=False
    )
    assert tokenizer.convert_ids_to_tokens([ids[0], ids[-2], ids[-1]]) == [ROLES["user"], "<|end|>", ROLES["assistant"]]
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
