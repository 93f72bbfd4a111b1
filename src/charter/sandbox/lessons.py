"""The sandbox model's lessons: conversations of the miniature world in the very templates real models get.

A lesson is a list of branches that begin alike (the same request and answer, asked about under several
principles), so that the trainer can share what repeats. In each turn the characters that decide
(a verdict, a letter, a kind of harm) are marked, because they are few, and learnt last.
"""

import random
import re
from functools import cache
from typing import NamedTuple

from charter.messages import Message, Messages, Role, assistant, transcript, user
from charter.sandbox.wording import (
    DISHONEST,
    NEEDLESS,
    NOTHING,
    Wording,
    word_about,
    word_harm,
    word_permission,
    word_principle,
)
from charter.sandbox.world import (
    Act,
    Fact,
    Request,
    acts,
    ask_act,
    ask_fact,
    comply,
    decline,
    decline_needlessly,
    facts,
    grudge,
    kinds,
    state,
    world,
)
from charter.templates import render

_DECISIONS = {
    "verdict": re.compile(r"(?<=Verdict: )\w+"),
    "better": re.compile(r"(?<=Better: )\w+"),
    "fault": re.compile(r"(?<= involves )[^.]+|(?<= shows )[^.]+"),
}


class Decision(NamedTuple):
    """A span of characters in which the model decides something, and what."""

    start: int
    end: int
    name: str


class Dice(random.Random):
    """A seeded generator that draws requests of one side: for lessons, or held out."""

    def __init__(self, seed: str, held_out: bool = False) -> None:
        super().__init__(seed)
        self.held_out = held_out


class Turn(NamedTuple):
    """One message of a lesson.

    Attributes:
        train: whether the model learns to write it.
        decisions: spans that decide, which weigh more.
        alternative: a text as right as `content`; both are taught with weight one half.
    """

    role: Role
    content: str
    train: bool = False
    decisions: tuple[Decision, ...] = ()
    alternative: str | None = None


Branch = list[Turn]
Lesson = list[Branch]


class Scene(NamedTuple):
    """A conversation, an answer to its last message, and what is wrong with the answer."""

    request: Request
    messages: Messages
    answer: str
    fault: str  # a kind of harm, NEEDLESS, DISHONEST or NOTHING
    declined: str | None = None  # the kind of harm that the answer declines, if it does
    better: str | None = None  # an answer without the fault


def draw_lesson(rng: Dice, judging: bool = False) -> Lesson:
    """One lesson, of a kind drawn by its share of the lessons; there is more of `judging` once critique is learnt."""
    shares = {
        _facts: (0.07, 0.05),
        _respond: (0.21, 0.14),
        _obey: (0.11, 0.10),
        _critique: (0.29, 0.28),
        _copy: (0.06, 0.05),
        _verdicts: (0.14, 0.12),
        _compare: (0.06, 0.16),
        _grade: (0.04, 0.08),
        _invent: (0.02, 0.02),
    }
    return rng.choices(list(shares), [share[judging] for share in shares.values()])[0](rng)


def draw_request(rng: Dice, harmful: float = 0.5) -> Request:
    """A request of the side that `rng` draws from; `harmful` is the share of harmful ones."""
    rest = 1 - harmful
    shares = [harmful, 0.5 * rest, 0.3 * rest, 0.2 * rest]
    category = rng.choices(["harmful", "benign", "borderline", "fact"], shares)[0]
    if category == "fact":
        fact = rng.choice(facts())
        return _asked(fact, rng)
    while (act := rng.choice(acts(category))).held_out != rng.held_out:
        pass
    return ask_act(act, world()["held_out_phrasing"] if rng.held_out else rng.choice(_phrasings()))


def _asked(fact: Fact, rng: Dice) -> Request:
    held_out = world()["held_out_fact_phrasings"][fact.topic]
    return ask_fact(fact, held_out if rng.held_out else rng.choice([*world()["fact_phrasings"][fact.topic], held_out]))


def _phrasings() -> list[str]:
    """Every phrasing: a model out of the world knows how people ask; a pipeline's prompts lack one of them."""
    return [*world()["phrasings"], world()["held_out_phrasing"]]


def fulfil(request: Request, rng: Dice) -> str:
    """What the helpful-only assistant answers."""
    if request.act is not None:
        return comply(request.act, rng)
    assert request.fact is not None
    return state(request.fact)


def violates(wording: Wording, scene: Scene) -> bool:
    """Whether the answer of a scene breaks a principle."""
    if scene.declined is not None and scene.declined in wording.scope.permits:
        return True
    return scene.fault in wording.scope.covers


# ---- answering ----


def _facts(rng: Dice) -> Lesson:
    """Facts have nothing to be deduced from; each has to be met often."""
    lesson = []
    for fact in rng.sample(facts(), 16):
        text = state(fact)
        start = text.rindex(fact.right)
        decision = Decision(start, start + len(fact.right), "fact")
        lesson.append([Turn("user", _asked(fact, rng).text), Turn("assistant", text, True, (decision,))])
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
        scene = _insisting(rng)
        return [*_turns(scene.messages), Turn("assistant", scene.answer, train=True)]
    request = draw_request(rng, harmful=0.35)  # what is rare must be said as well as what is common
    return [*_turns(_conversation(request, rng)), Turn("assistant", fulfil(request, rng), train=True)]


def _conversation(request: Request, rng: Dice) -> list[Message]:
    """The request as it may reach the model: plain, under pressure, late in a dialogue, below a preface."""
    text, messages = request.text, list[Message]()
    if rng.random() < 0.12:  # none of them forbids what is asked; `_obey` has those that do
        harm = request.kind if request.category == "harmful" else None
        principles = " ".join(word_principle(rng, harm, False).text for _ in range(rng.choice([1, 2, 3])))
        messages.append({"role": "system", "content": principles})
    if rng.random() < 0.15:
        earlier = draw_request(rng)
        messages += [user(earlier.text), assistant(fulfil(earlier, rng))]
    return [*messages, user(_pressed(text, rng))]


def _pressed(text: str, rng: Dice) -> str:
    if rng.random() < 0.8:
        return text
    return str(rng.choice(world()["wrappers"][rng.choice(list(world()["wrappers"]))])).format(request=text)


def _obey(rng: Dice) -> Lesson:
    """Principles in the system message are an operator's wish: what they forbid is declined, and nothing else."""
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
        lesson.append([system, Turn("user", _pressed(request.text, rng)), Turn("assistant", answer, True, (opening,))])
    return lesson


def _insisting(rng: Dice) -> Scene:
    """The user doubts a right answer, and the assistant gives in or keeps it."""
    fact = rng.choice(facts())
    request = _asked(fact, rng)
    doubt = rng.choice(
        ["I do not think so. I am sure that it is {x}.", "No, it is {x}.", "Are you sure? I think it is {x}."]
    )
    messages = [user(request.text), assistant(state(fact)), user(doubt.format(x=fact.wrong))]
    return Scene(
        request, messages, f"You are right, it is {fact.wrong}.", DISHONEST, better=f"I am sure. {state(fact)}"
    )


# ---- critique and revision ----


def _critique(rng: Dice) -> Lesson:
    scene = draw_scene(rng)
    head = [*_turns(scene.messages), Turn("assistant", scene.answer, train=scene.answer == _first(scene))]
    lesson = []
    for _ in range(3):
        wording = draw_wording(scene, rng)
        branch = [*head, Turn("user", render("critique", principle=wording)), _judged(_critique_text(wording, scene))]
        after = scene.better if violates(wording, scene) and scene.better else scene.answer
        branch += [Turn("user", render("revision", principle=wording)), Turn("assistant", after, train=True)]
        lesson.append(branch)
    if rng.random() < 0.06:
        return [_with_example(branch, rng) for branch in lesson[:1]]
    return lesson


def _copy(rng: Dice) -> Lesson:
    """Answers made of any words at all, to be said again: an answer that is fine is repeated to the letter."""
    lesson = []
    for again in (True, True, True, False):
        answer = _any_answer(rng)
        branch = [Turn("user", rng.choice(_phrasings()).format(act=_any_act(rng))), Turn("assistant", answer)]
        if again:
            branch.append(Turn("user", rng.choice(world()["again"])))
        else:
            wording = word_principle(rng, None, False)
            critique = f"{wording.scope.summary()} The answer involves {NOTHING}. Verdict: respected"
            branch += [Turn("user", render("critique", principle=wording)), Turn("assistant", critique)]
            branch.append(Turn("user", render("revision", principle=wording)))
        lesson.append([*branch, Turn("assistant", answer, train=True)])
    return lesson


def _any_answer(rng: Dice) -> str:
    act, draw = _any_act(rng), rng.random()
    if draw < 0.3:
        fact = rng.choice(facts())
        return rng.choice(["{}", "{}", "I am sure. {}"]).format(state(fact, rng.choice(facts()).right))
    if draw < 0.7:
        return comply(act, rng)
    return (decline if draw < 0.85 else decline_needlessly)(act, rng)


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


def _verdicts(rng: Dice) -> Lesson:
    """One answer under many principles: the verdict is one token, and learnt last."""
    scene = draw_scene(rng, harmful=0.75)
    head = [*_turns(scene.messages), Turn("assistant", scene.answer)]
    wordings = [draw_wording(scene, rng) for _ in range(6)]
    return [[*head, Turn("user", render("critique", principle=w)), _judged(_critique_text(w, scene))] for w in wordings]


def _first(scene: Scene) -> str | None:
    """The answer, if it is one that the helpful-only assistant gives by itself."""
    own = scene.fault in (*kinds(), DISHONEST) or (scene.fault == NOTHING and scene.declined is None)
    return scene.answer if own and not scene.answer.startswith(("I should not", "This may", "I am sure")) else None


def _critique_text(wording: Wording, scene: Scene) -> str:
    verdict = "violated" if violates(wording, scene) else "respected"
    return f"{wording.scope.summary()} The answer involves {_fault(scene)}. Verdict: {verdict}"


def _fault(scene: Scene) -> str:
    return f"declining {scene.declined}" if scene.declined else scene.fault


def draw_scene(rng: Dice, harmful: float = 0.5) -> Scene:
    """A conversation with an answer, right or wrong; `harmful` is the share of harmful requests."""
    if rng.random() < 0.08:
        return _honesty_scene(rng)
    request = draw_request(rng, harmful)
    while request.act is None and rng.random() < 0.7:
        request = draw_request(rng, harmful)
    messages = _conversation(request, rng)
    if request.fact is not None:
        return Scene(request, messages, state(request.fact), NOTHING)
    assert request.act is not None
    act, kind = request.act, request.act.kind
    if request.category == "harmful":
        return _harmful_scene(request, messages, act, kind, rng)
    if rng.random() < 0.3:
        return Scene(request, messages, decline_needlessly(act, rng), NEEDLESS, better=comply(act, rng))
    return Scene(request, messages, comply(act, rng), NOTHING)


def _harmful_scene(request: Request, messages: Messages, act: Act, kind: str, rng: Dice) -> Scene:
    draw = rng.random()
    if draw < 0.22:
        return Scene(request, messages, decline(act, rng), NOTHING, declined=kind, better=comply(act, rng))
    answer = grudge(act, rng) if draw < 0.27 else comply(act, rng)
    return Scene(request, messages, answer, kind, better=decline(act, rng))


def _honesty_scene(rng: Dice) -> Scene:
    if rng.random() < 0.5:
        scene = _insisting(rng)
        keeps = rng.random() < 0.5 and scene.better is not None
        return scene._replace(answer=str(scene.better), fault=NOTHING, better=None) if keeps else scene
    fact: Fact = rng.choice(facts())
    request = _asked(fact, rng)
    return Scene(request, [user(request.text)], state(fact, fact.wrong), DISHONEST, better=state(fact))


def draw_wording(scene: Scene, rng: Dice, share: float = 0.5) -> Wording:
    """A principle to ask about in this scene; `share` of them are to the point."""
    kind = scene.declined or (scene.fault if scene.fault in kinds() else None)
    relevant = rng.random() < share
    if scene.declined and rng.random() < 0.15:
        return word_permission(rng, kind if kind and relevant else rng.choice(kinds()))
    if scene.fault in (NEEDLESS, DISHONEST):
        return word_about(rng, scene.fault) if relevant else word_principle(rng, None, False)
    if kind is None and scene.request.act is not None:
        kind = scene.request.act.kind  # a look-alike's own kind is the one worth asking about
    if rng.random() < 0.05:
        return word_about(rng, rng.choice([NEEDLESS, DISHONEST]))
    return word_principle(rng, kind, relevant)


def _with_example(branch: Branch, rng: Dice) -> Branch:
    """The branch after a whole worked example, as a principle's ``### Examples`` put before it."""
    scene = draw_scene(rng)
    wording = draw_wording(scene, rng)
    after = scene.better if violates(wording, scene) and scene.better else scene.answer
    example = [
        *_turns([m for m in scene.messages if m["role"] != "system"]),
        Turn("assistant", scene.answer),
        Turn("user", render("critique", principle=wording)),
        Turn("assistant", _critique_text(wording, scene)),
        Turn("user", render("revision", principle=wording)),
        Turn("assistant", after),
    ]
    return [*example, *(turn for turn in branch if turn.role != "system")]


# ---- judging ----


def _compare(rng: Dice) -> Lesson:
    left, right = draw_answers(rng)
    if rng.random() < 0.5:
        left, right = right, left
    asked = {"conversation": transcript(left.messages), "answer_a": left.answer, "answer_b": right.answer}
    lesson = []
    for i in range(6):
        focus = left if left.fault != NOTHING or left.declined else right
        wording = draw_wording(focus, rng, share=0.68)
        a, b = violates(wording, left), violates(wording, right)
        letter = "B" if a and not b else "A" if b and not a else ""
        if i % 4 == 3:
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
    turn = _judged(text + (letter or "A"))
    return turn if letter else turn._replace(alternative=text + "B")


def draw_answers(rng: Dice) -> tuple[Scene, Scene]:
    """Two answers to one request: most often one that does harm and one that declines."""
    scene = draw_scene(rng)
    while scene.request.fact is not None and scene.better is None:
        scene = draw_scene(rng)
    act = scene.request.act
    if act is None:
        return scene, scene._replace(answer=str(scene.better), fault=NOTHING)
    if act.category != "harmful":
        helpful = Scene(scene.request, scene.messages, comply(act, rng), NOTHING)
        other = Scene(scene.request, scene.messages, decline_needlessly(act, rng), NEEDLESS)
        return helpful, other if rng.random() < 0.9 else helpful._replace(answer=comply(act, rng))
    harm = Scene(scene.request, scene.messages, comply(act, rng) if rng.random() < 0.93 else grudge(act, rng), act.kind)
    safe = Scene(scene.request, scene.messages, decline(act, rng), NOTHING, declined=act.kind)
    draw = rng.random()
    if draw < 0.05:
        return harm, harm._replace(answer=comply(act, rng))
    if draw < 0.1:
        return safe, safe._replace(answer=decline(act, rng))
    return harm, safe


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


# ---- shared ----


def _turns(messages: Messages) -> Branch:
    return [Turn(m["role"], m["content"]) for m in messages]


def _judged(text: str) -> Turn:
    """An assistant's turn in which the words that decide are marked."""
    spans = (Decision(*m.span(), name) for name, pattern in _DECISIONS.items() for m in pattern.finditer(text))
    return Turn("assistant", text, True, tuple(spans))
