"""How tokens and their rewards are shown: in seven steps, told apart by underline and number as well as by colour."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from charter.training.token_rewards import PairRewards, TokenReport, TokenRewards

STEPS = 3
"""Shades on either side of none."""
NUMBERED = 3
"""Tokens of an answer whose reward is written beside them: the strongest."""
CARRIERS = 5
"""Tokens named as having carried a preference."""

_QUANTILE = 0.98  # of all rewards shown is the darkest shade, so that one outlier does not leave the others pale

_VISIBLE = {" ": "\N{OPEN BOX}", "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\t": "\N{RIGHTWARDS ARROW TO BAR}"}


class Token(NamedTuple):
    """A token as it is drawn; `shade` is from -3, much less likely than before, to 3."""

    text: str
    reward: float
    shade: int
    numbered: bool


class Side(NamedTuple):
    """One answer; `hidden` of its tokens, with `hidden_reward` together, are not drawn."""

    tokens: list[Token]
    total: float
    hidden: int
    hidden_reward: float


class Carrier(NamedTuple):
    """A token that widened the margin by `gain` nats: of a chosen answer, or less likely in a rejected one."""

    text: str
    chosen: bool
    gain: float


class Drawn(NamedTuple):
    """A pair as it is drawn."""

    pair: PairRewards
    chosen: Side
    rejected: Side
    margin: float
    carriers: list[Carrier]


def draw_pairs(heat: TokenReport) -> tuple[list[Drawn], float]:
    """The pairs, and the reward of the darkest shade, which is one for all of them."""
    scale = _scale([r for pair in heat.pairs for side in (pair.chosen, pair.rejected) for r in side.rewards])
    return [
        Drawn(
            pair,
            draw_side(pair.chosen, scale),
            draw_side(pair.rejected, scale),
            pair.chosen.total - pair.rejected.total,
            carriers(pair),
        )
        for pair in heat.pairs
    ], scale


def draw_side(answer: TokenRewards, scale: float) -> Side:
    """One answer in shades of `scale`."""
    shades = [_shade(reward, scale) for reward in answer.rewards]
    strongest = sorted(range(len(shades)), key=lambda i: -abs(answer.rewards[i]))[:NUMBERED]
    tokens = [
        Token(text, reward, shade, shade != 0 and i in strongest)
        for i, (text, reward, shade) in enumerate(zip(answer.tokens, answer.rewards, shades, strict=True))
    ]
    return Side(tokens, answer.total, answer.count - len(tokens), answer.total - sum(answer.rewards))


def carriers(pair: PairRewards, n: int = CARRIERS) -> list[Carrier]:
    """The tokens that widened the margin most, the strongest first."""
    found = [Carrier(t, True, r) for t, r in zip(pair.chosen.tokens, pair.chosen.rewards, strict=True)]
    found += [Carrier(t, False, -r) for t, r in zip(pair.rejected.tokens, pair.rejected.rewards, strict=True)]
    return sorted((carrier for carrier in found if carrier.gain > 0), key=lambda carrier: -carrier.gain)[:n]


def shown_token(text: str) -> str:
    """A token on its own, so that white space in it is seen."""
    return "".join(_VISIBLE.get(character, character) for character in text) or "(nothing)"


def _scale(rewards: Sequence[float]) -> float:
    sizes = sorted(map(abs, rewards))
    return sizes[math.ceil(_QUANTILE * len(sizes)) - 1] if sizes else 0.0


def _shade(reward: float, scale: float) -> int:
    return max(-STEPS, min(STEPS, round(STEPS * reward / scale))) if scale else 0
