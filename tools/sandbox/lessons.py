"""The sandbox model's lessons: conversations of the miniature world in the very templates real models get.

A lesson is a list of branches that begin alike (the same request and answer, asked about under several
principles), so that the trainer can share what repeats. In each turn the characters that decide
(a verdict, a letter, a kind of harm) are marked, because they are few, and learnt last.
"""

from typing import Literal

from charter.core.messages import transcript
from charter.core.templates import render
from charter.sandbox.wording import DISHONEST, NEEDLESS, NOTHING
from charter.sandbox.world import acts, ask_act, decline, facts, kinds, state, world
from tools.sandbox.lesson import Branch, Decision, Lesson, Turn, judged, turns_of
from tools.sandbox.principles import Wording, word_harm, word_principle
from tools.sandbox.repeating import copy
from tools.sandbox.scenes import (
    Dice,
    Scene,
    ask_any,
    draw_answers,
    draw_falsehood,
    draw_request,
    draw_scene,
    draw_wording,
    fulfil,
    hold_conversation,
    insist,
    press,
    violates,
)

Phase = Literal["first", "judging", "finishing"]
PHASES: tuple[Phase, ...] = ("first", "judging", "finishing")


def draw_lesson(rng: Dice, phase: Phase = "first") -> Lesson:
    """One lesson, of a kind drawn by its share of the lessons of a phase of training.

    There is more of judging once critique is learnt, and at last more of critique, which is learnt slowest.
    """
    shares = {
        _facts: (0.07, 0.05, 0.04),
        _respond: (0.16, 0.11, 0.05),
        _obey: (0.10, 0.09, 0.05),
        _critique: (0.34, 0.32, 0.36),
        _correct: (0.0, 0.0, 0.09),
        copy: (0.08, 0.06, 0.06),
        _verdicts: (0.13, 0.12, 0.0),
        _strangers: (0.0, 0.0, 0.21),
        _compare: (0.06, 0.15, 0.0),
        _weigh: (0.0, 0.0, 0.13),
        _grade: (0.04, 0.08, 0.04),
        _invent: (0.02, 0.02, 0.01),
    }
    return rng.choices(list(shares), [share[PHASES.index(phase)] for share in shares.values()])[0](rng)


# ---- answering ----


def _facts(rng: Dice) -> Lesson:
    """Facts have nothing to be deduced from; each has to be met often."""
    lesson = []
    for fact in rng.sample(facts(), 16):
        text = state(fact)
        start = text.rindex(fact.right)
        decision = Decision(start, start + len(fact.right), "fact")
        lesson.append([Turn("user", ask_any(fact, rng).text), Turn("assistant", text, True, (decision,))])
    return lesson


def _respond(rng: Dice) -> Lesson:
    return [_answered(rng) for _ in range(10)]


def _answered(rng: Dice) -> Branch:
    draw = rng.random()
    if draw < 0.04:
        place = rng.choice(world()["facts"]["unknown"])
        text = rng.choice(world()["fact_phrasings"]["capitals"]).format(x=place)
        return [Turn("user", text), Turn("assistant", f"I do not know the capital of {place}.", train=True)]
    if draw < 0.08:
        scene = insist(rng)
        return [*turns_of(scene.messages), Turn("assistant", scene.answer, train=True)]
    request = draw_request(rng, harmful=0.35)  # what is rare must be said as well as what is common
    return [*turns_of(hold_conversation(request, rng)), Turn("assistant", fulfil(request, rng), train=True)]


def _obey(rng: Dice) -> Lesson:
    """Principles in the system message are an operator's wish: what they forbid is declined, and nothing else."""
    # Fine-tuning then elicits a distinction that the model can make already, as it does with real models. Without this
    # lesson, SFT on a few hundred rows taught it to refuse by the verb alone.
    count = rng.choice([1, 1, 2, 3])
    wordings = [word_harm(rng) if rng.random() < 0.25 else word_principle(rng, None, False) for _ in range(count)]
    covered = {kind for wording in wordings for kind in wording.scope.covers}
    system = Turn("system", " ".join(wording.text for wording in wordings))
    lesson = []
    for _ in range(6):
        request = draw_request(rng)
        while request.category == "harmful" and request.kind not in covered and rng.random() < 0.5:
            request = draw_request(rng)
        forbidden = request.category == "harmful" and request.kind in covered
        answer = decline(request.act, rng) if request.act and forbidden else fulfil(request, rng)
        opening = Decision(0, 1, "opening")
        lesson.append([system, Turn("user", press(request.text, rng)), Turn("assistant", answer, True, (opening,))])
    return lesson


# ---- critique and revision ----


def _critique(rng: Dice) -> Lesson:
    return _revised(draw_scene(rng), rng)


def _correct(rng: Dice) -> Lesson:
    """A falsehood, found and corrected; what is right must be known by heart."""
    return _revised(draw_falsehood(rng), rng)


def _revised(scene: Scene, rng: Dice) -> Lesson:
    head = [*turns_of(scene.messages), Turn("assistant", scene.answer, train=scene.answer == _first(scene))]
    lesson = []
    for _ in range(3):
        wording = draw_wording(scene, rng)
        branch = [*head, Turn("user", render("critique", principle=wording)), judged(_critique_text(wording, scene))]
        after = scene.better if violates(wording, scene) and scene.better else scene.answer
        branch += [Turn("user", render("revision", principle=wording)), Turn("assistant", after, train=True)]
        lesson.append(branch)
    if rng.random() < 0.06:
        return [_with_example(branch, rng) for branch in lesson[:1]]
    return lesson


def _strangers(rng: Dice) -> Lesson:
    """Principles as people write them: few are to the point where all are asked about, many say the same thing twice.

    Who has not met such reads into a principle what the answer above it is about.
    """
    return _verdicts(rng, share=0.15, repeats=0.5)


def _verdicts(rng: Dice, share: float = 0.5, repeats: float = 0.0) -> Lesson:
    """One answer under many principles: the verdict is one token, and learnt last."""
    scene = draw_scene(rng, harmful=0.75)
    head = [*turns_of(scene.messages), Turn("assistant", scene.answer)]
    wordings = [draw_wording(scene, rng, share, repeats) for _ in range(6)]
    return [[*head, Turn("user", render("critique", principle=w)), judged(_critique_text(w, scene))] for w in wordings]


def _first(scene: Scene) -> str | None:
    """The answer, if it is one that the helpful-only assistant gives by itself."""
    own = scene.fault in (*kinds(), DISHONEST) or (scene.fault == NOTHING and scene.declined is None)
    return scene.answer if own and not scene.answer.startswith(("I should not", "This may", "I am sure")) else None


def _critique_text(wording: Wording, scene: Scene) -> str:
    verdict = "violated" if violates(wording, scene) else "respected"
    return f"{wording.scope.summary()} The answer involves {_fault(scene)}. Verdict: {verdict}"


def _fault(scene: Scene) -> str:
    return f"declining {scene.declined}" if scene.declined else scene.fault


def _with_example(branch: Branch, rng: Dice) -> Branch:
    """The branch after a whole worked example, as a principle's ``### Examples`` put before it."""
    scene = draw_scene(rng)
    wording = draw_wording(scene, rng)
    after = scene.better if violates(wording, scene) and scene.better else scene.answer
    example = [
        *turns_of([m for m in scene.messages if m["role"] != "system"]),
        Turn("assistant", scene.answer),
        Turn("user", render("critique", principle=wording)),
        Turn("assistant", _critique_text(wording, scene)),
        Turn("user", render("revision", principle=wording)),
        Turn("assistant", after),
    ]
    return [*example, *(turn for turn in branch if turn.role != "system")]


# ---- judging ----


def _weigh(rng: Dice) -> Lesson:
    """Two answers under principles that may say a thing twice, which a chain of thought has to get to its end."""
    return _compare(rng, repeats=0.4, reasoned=2)


def _compare(rng: Dice, repeats: float = 0.0, reasoned: int = 4) -> Lesson:
    """Two answers under six principles; every `reasoned`-th is asked about with a chain of thought."""
    left, right = draw_answers(rng)
    if rng.random() < 0.5:
        left, right = right, left
    asked = {"conversation": transcript(left.messages), "answer_a": left.answer, "answer_b": right.answer}
    lesson = []
    for i in range(6):
        focus = left if left.fault != NOTHING or left.declined else right
        wording = draw_wording(focus, rng, 0.68, repeats)
        a, b = violates(wording, left), violates(wording, right)
        letter = "B" if a and not b else "A" if b and not a else ""
        if i % reasoned == reasoned - 1:
            ask, answer = "reasoned_choice", _reasoned(wording, left, right, letter)
        else:
            ask, answer = (
                "choice",
                Turn("assistant", letter or "A", True, (Decision(0, 1, "choice"),), None if letter else "B"),
            )
        lesson.append([Turn("user", render(ask, principle=wording, **asked)), answer])
    return lesson


def _reasoned(wording: Wording, left: Scene, right: Scene, letter: str) -> Turn:
    text = f"{wording.scope.summary()} Answer A shows {_fault(left)}. Answer B shows {_fault(right)}. Better: "
    turn = judged(text + (letter or "A"))
    return turn if letter else turn._replace(alternative=text + "B")


def _grade(rng: Dice) -> Lesson:
    scene = draw_scene(rng)
    asked = {"conversation": transcript(scene.messages), "answer": scene.answer}
    lesson = []
    for _ in range(4):
        wording = draw_wording(scene, rng)
        lesson.append(_question(render("score", principle=wording, **asked), str(_score(wording, scene)), "score"))
    lesson.append(_question(render("classify_harm", **asked), "yes" if scene.fault in kinds() else "no", "harm"))
    lesson.append(_question(render("classify_refusal", **asked), _refusal(scene), "refusal"))
    return lesson


def _score(wording: Wording, scene: Scene) -> int:
    if violates(wording, scene):
        return 3 if scene.answer.startswith(("I should not", "This may")) else 1
    return 10 if scene.declined is not None and scene.declined in wording.scope.covers else 8


def _refusal(scene: Scene) -> str:
    if scene.answer.startswith(("I should not", "This may")):
        return "both"
    return "refuse" if scene.declined or scene.fault == NEEDLESS else "comply"


def _question(text: str, answer: str, name: str) -> Branch:
    return [Turn("user", text), Turn("assistant", answer, True, (Decision(0, len(answer), name),))]


# ---- new requests, for red teaming ----


def _invent(rng: Dice) -> Lesson:
    return [_invented(rng) for _ in range(3)]


def _invented(rng: Dice) -> Branch:
    category = rng.choices(["harmful", "benign", "borderline"], [0.7, 0.15, 0.15])[0]
    sided = [act for act in acts(category) if act.held_out == rng.held_out]
    kind = rng.choice(sided).kind
    pool = [act for act in sided if act.kind == kind]
    texts = [ask_act(rng.choice(pool), rng.choice(world()["phrasings"])).text for _ in range(rng.choice([2, 3, 4]) + 1)]
    topic = rng.choice(world()["kinds"][kind]["phrases"])
    return [
        Turn("user", render("new_prompt", topic=topic, examples=texts[1:])),
        Turn("assistant", texts[0], train=True),
    ]
