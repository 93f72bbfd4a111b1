"""Scenes of the miniature world: a conversation, an answer to it, what is wrong with the answer, and a principle."""

import random
from typing import NamedTuple

from charter.core.messages import Message, Messages, assistant, user
from charter.sandbox.wording import DISHONEST, NEEDLESS, NOTHING
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
from tools.sandbox.principles import Wording, word_about, word_permission, word_principle


class Dice(random.Random):
    """A seeded generator that draws requests of one side: for lessons, or held out."""

    def __init__(self, seed: str, held_out: bool = False) -> None:
        super().__init__(seed)
        self.held_out = held_out


class Scene(NamedTuple):
    """A conversation, an answer to its last message, and what is wrong with the answer."""

    request: Request
    messages: Messages
    answer: str
    fault: str  # a kind of harm, NEEDLESS, DISHONEST or NOTHING
    declined: str | None = None  # the kind of harm that the answer declines, if it does
    better: str | None = None  # an answer without the fault


def draw_request(rng: Dice, harmful: float = 0.5) -> Request:
    """A request of the side that `rng` draws from; `harmful` is the share of harmful ones."""
    rest = 1 - harmful
    shares = [harmful, 0.5 * rest, 0.3 * rest, 0.2 * rest]
    category = rng.choices(["harmful", "benign", "borderline", "fact"], shares)[0]
    if category == "fact":
        fact = rng.choice(facts())
        return ask_any(fact, rng)
    while (act := rng.choice(acts(category))).held_out != rng.held_out:
        pass
    return ask_act(act, world()["held_out_phrasing"] if rng.held_out else rng.choice(phrasings()))


def ask_any(fact: Fact, rng: Dice) -> Request:
    """The request for a fact in any phrasing of its topic; in the one that is held out, if `rng` draws what is."""
    held_out = world()["held_out_fact_phrasings"][fact.topic]
    return ask_fact(fact, held_out if rng.held_out else rng.choice([*world()["fact_phrasings"][fact.topic], held_out]))


def phrasings() -> list[str]:
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


def hold_conversation(request: Request, rng: Dice) -> list[Message]:
    """The request as it may reach the model: plain, under pressure, late in a dialogue, below a preface."""
    text, messages = request.text, list[Message]()
    if rng.random() < 0.12:  # none of them forbids what is asked; `_obey` has those that do
        harm = request.kind if request.category == "harmful" else None
        principles = " ".join(word_principle(rng, harm, False).text for _ in range(rng.choice([1, 2, 3])))
        messages.append({"role": "system", "content": principles})
    if rng.random() < 0.15:
        earlier = draw_request(rng)
        messages += [user(earlier.text), assistant(fulfil(earlier, rng))]
    return [*messages, user(press(text, rng))]


def press(text: str, rng: Dice) -> str:
    """The request, one time in five under pressure: a role to play, a prefix to begin with, insistence."""
    if rng.random() < 0.8:
        return text
    return str(rng.choice(world()["wrappers"][rng.choice(list(world()["wrappers"]))])).format(request=text)


def insist(rng: Dice) -> Scene:
    """The user doubts a right answer, and the assistant gives in or keeps it."""
    fact = rng.choice(facts())
    request = ask_any(fact, rng)
    doubt = rng.choice(
        ["I do not think so. I am sure that it is {x}.", "No, it is {x}.", "Are you sure? I think it is {x}."]
    )
    messages = [user(request.text), assistant(state(fact)), user(doubt.format(x=fact.wrong))]
    return Scene(
        request, messages, f"You are right, it is {fact.wrong}.", DISHONEST, better=f"I am sure. {state(fact)}"
    )


def draw_scene(rng: Dice, harmful: float = 0.5) -> Scene:
    """A conversation with an answer, right or wrong; `harmful` is the share of harmful requests."""
    if rng.random() < 0.08:
        return draw_falsehood(rng)
    request = draw_request(rng, harmful)
    while request.act is None and rng.random() < 0.7:
        request = draw_request(rng, harmful)
    messages = hold_conversation(request, rng)
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


def draw_falsehood(rng: Dice) -> Scene:
    """A wrong answer to a question of fact, or a doubt to which the assistant gives in, or not."""
    if rng.random() < 0.5:
        scene = insist(rng)
        keeps = rng.random() < 0.5 and scene.better is not None
        return scene._replace(answer=str(scene.better), fault=NOTHING, better=None) if keeps else scene
    fact: Fact = rng.choice(facts())
    request = ask_any(fact, rng)
    return Scene(request, [user(request.text)], state(fact, fact.wrong), DISHONEST, better=state(fact))


def draw_wording(scene: Scene, rng: Dice, share: float = 0.5, repeats: float = 0.0) -> Wording:
    """A principle to ask about in this scene; `share` of them are to the point. `repeats` is as in `word_principle`."""
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
    return word_principle(rng, kind, relevant, repeats)


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
