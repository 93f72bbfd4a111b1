"""Lessons in repeating: an answer that is fine is said again to the letter, whatever its words are."""

from functools import cache

from charter.sandbox.lesson import Branch, Decision, Lesson, Turn
from charter.sandbox.scenes import Dice, phrasings
from charter.sandbox.wording import NOTHING, word_principle
from charter.sandbox.world import Act, acts, comply, decline, decline_needlessly, facts, kinds, state, world
from charter.templates import render


def copy(rng: Dice) -> Lesson:
    """Answers made of any words at all, to be repeated when asked, or in place of a revision."""
    lesson = []
    for asked in (True, True, True, False):
        answer = _any_answer(rng, (0.0, 0.3, 0.7, 0.85))
        branch = _before(answer, asked, rng)
        lesson.append([*branch, Turn("assistant", answer, train=True)])
    return lesson


def repeat(rng: Dice) -> Lesson:
    """The same in earnest: lists of words as well, more often in place of a revision, and every token counts more."""
    lesson = []
    for asked in (True, True, False, False):
        answer = _any_answer(rng, (0.2, 0.4, 0.75, 0.88))
        branch = _before(answer, asked, rng)
        lesson.append([*branch, Turn("assistant", answer, True, (Decision(0, len(answer), "copy"),))])
    return lesson


def _before(answer: str, asked: bool, rng: Dice) -> Branch:
    branch = [Turn("user", rng.choice(phrasings()).format(act=_any_act(rng))), Turn("assistant", answer)]
    if asked:
        return [*branch, Turn("user", rng.choice(world()["again"]))]
    wording = word_principle(rng, None, False)
    critique = f"{wording.scope.summary()} The answer involves {NOTHING}. Verdict: respected"
    branch += [Turn("user", render("critique", principle=wording)), Turn("assistant", critique)]
    return [*branch, Turn("user", render("revision", principle=wording))]


def _any_answer(rng: Dice, up_to: tuple[float, float, float, float]) -> str:
    """Words, a fact, help, a refusal of harm, or a needless one; `up_to` are the cumulated shares of the first four."""
    act, draw = _any_act(rng), rng.random()
    words, fact, help, refusal = up_to
    if draw < words:
        return " ".join(rng.choices(_words(), k=rng.randrange(6, 15))).capitalize() + "."
    if draw < fact:
        known = rng.choice(facts())
        return rng.choice(["{}", "{}", "I am sure. {}"]).format(state(known, rng.choice(facts()).right))
    if draw < help:
        return comply(act, rng)
    return (decline if draw < refusal else decline_needlessly)(act, rng)


def _any_act(rng: Dice) -> Act:
    words = rng.sample(_words(), rng.choice([2, 3, 4]))
    return Act(words[0], " ".join(words[1:]), "benign", rng.choice(kinds()))


@cache
def _words() -> tuple[str, ...]:
    """Every word of the world's acts, facts and phrases."""
    texts = [str(act) for act in (*acts("harmful"), *acts("benign"), *acts("borderline"))]
    texts += [f"{fact.subject} {fact.right}" for fact in facts()]
    texts += [phrase for table in world()["kinds"].values() for phrase in table["phrases"]]
    return tuple(sorted({word for text in texts for word in text.split()}))
