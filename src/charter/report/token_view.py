"""How tokens and their rewards are shown: in seven shades, which underlines and numbers distinguish without colour."""

import math
from typing import NamedTuple

from charter.training.token_rewards import PairRewards, TokenReport, TokenRewards

STEPS = 3
"""Shades for positive rewards, and as many for negative ones."""
NUMBERED = 3
"""The tokens of an answer, the strongest ones, whose reward is written next to them."""
CARRIERS = 5
"""The tokens listed as those that contributed most to a preference."""

# The darkest shade is this quantile of all rewards shown, so that one outlier does not leave the others pale.
_QUANTILE = 0.98

_VISIBLE = {" ": "\N{OPEN BOX}", "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\t": "\N{RIGHTWARDS ARROW TO BAR}"}


class ShadedToken(NamedTuple):
    """A token as it is shown; `shade` is from -3, much less likely than before, to 3."""

    text: str
    reward: float
    shade: int
    numbered: bool


class ShadedAnswer(NamedTuple):
    """One answer; `hidden` of its tokens, with a total reward of `hidden_reward`, are not shown."""

    tokens: list[ShadedToken]
    total: float
    hidden: int
    hidden_reward: float


class Carrier(NamedTuple):
    """A token that widened the margin by `gain` nats: of a chosen answer, or less likely in a rejected one."""

    text: str
    chosen: bool
    gain: float


class ShadedPair(NamedTuple):
    """A pair as it is shown."""

    pair: PairRewards
    chosen: ShadedAnswer
    rejected: ShadedAnswer
    margin: float
    carriers: list[Carrier]


def shade_pairs(heat: TokenReport) -> tuple[list[ShadedPair], float]:
    """The pairs, and the reward of the darkest shade, which is the same for all pairs."""
    rewards = sorted(abs(r) for pair in heat.pairs for side in (pair.chosen, pair.rejected) for r in side.rewards)
    scale = rewards[math.ceil(_QUANTILE * len(rewards)) - 1] if rewards else 0.0
    return [
        ShadedPair(
            pair,
            shade_answer(pair.chosen, scale),
            shade_answer(pair.rejected, scale),
            pair.chosen.total - pair.rejected.total,
            carriers(pair),
        )
        for pair in heat.pairs
    ], scale


def shade_answer(answer: TokenRewards, scale: float) -> ShadedAnswer:
    """One answer in shades of `scale`."""
    # Rewards beyond the scale, the outliers, get the darkest shade.
    shades = [max(-STEPS, min(STEPS, round(STEPS * r / scale))) if scale else 0 for r in answer.rewards]
    # Numbers on all tokens could not be read.
    strongest = sorted(range(len(shades)), key=lambda i: -abs(answer.rewards[i]))[:NUMBERED]
    tokens = [
        ShadedToken(text, reward, shade, shade != 0 and i in strongest)
        for i, (text, reward, shade) in enumerate(zip(answer.tokens, answer.rewards, shades, strict=True))
    ]
    return ShadedAnswer(tokens, answer.total, answer.count - len(tokens), answer.total - sum(answer.rewards))


def carriers(pair: PairRewards, n: int = CARRIERS) -> list[Carrier]:
    """The tokens that widened the margin most, the strongest first."""
    tokens = [Carrier(t, True, r) for t, r in zip(pair.chosen.tokens, pair.chosen.rewards, strict=True)]
    # A token of the rejected answer widens the margin by becoming less likely, hence the minus.
    tokens += [Carrier(t, False, -r) for t, r in zip(pair.rejected.tokens, pair.rejected.rewards, strict=True)]
    return sorted((carrier for carrier in tokens if carrier.gain > 0), key=lambda carrier: -carrier.gain)[:n]


def visible_token(text: str) -> str:
    """A token with its white space made visible."""
    return "".join(_VISIBLE.get(character, character) for character in text) or "(nothing)"
