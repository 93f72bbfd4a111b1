"""Preference losses of one pair, and their form for a probability (a soft label) instead of a verdict.

A soft label p says that the chosen answer is the better one with probability p. The loss of such a pair is the mean
of its loss over the label,

    p * loss(chosen, rejected) + (1 - p) * loss(rejected, chosen),

so that p = 1 is the published loss, bit for bit. What that comes to, with Δ = chosen - rejected and s the sigmoid:

- ``sigmoid``: -p log s(βΔ) - (1 - p) log s(-βΔ), the cross-entropy of p, as the Constitutional AI paper
  (arXiv 2212.08073, section 4.1) trains its preference model; least where s(βΔ) = p.
- ``ipo`` (arXiv 2310.12036, eq. 17): (Δ - 1/2β)² of p = 1 aims at the margin (2p - 1)/2β instead, plus a constant.
- ``apo-zero`` (arXiv 2408.06266, eq. 7): the gradient of p = 1, times 2p - 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from charter.config.training import Loss

PairLoss = Callable[[Tensor, Tensor, float], Tensor]
"""From log π/π_ref of the chosen and of the rejected answers, in nats, and β, to one loss per pair."""


def sigmoid(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """DPO (arXiv 2305.18290, eq. 7)."""
    return -logsigmoid(beta * (chosen - rejected))


def ipo(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """IPO; β is the paper's τ."""
    return torch.square(chosen - rejected - 1 / (2 * beta))


def apo_zero(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """APO-zero, for chosen answers that are better than what the model would say."""
    return 1 - torch.sigmoid(beta * chosen) + torch.sigmoid(beta * rejected)


LOSSES: dict[Loss, PairLoss] = {"sigmoid": sigmoid, "ipo": ipo, "apo-zero": apo_zero}


def expected_loss(loss: PairLoss, p: Tensor | None, chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """One loss per pair, in expectation over the label; without `p`, the verdict is taken as certain."""
    if p is None:
        return loss(chosen, rejected, beta)
    p = p.to(chosen.dtype)
    return p * loss(chosen, rejected, beta) + (1 - p) * loss(rejected, chosen, beta)


def bradley_terry(p: Tensor | None, chosen: Tensor, rejected: Tensor) -> Tensor:
    """The reward model's loss per pair, from the scores of both answers: -p log s(Δ) - (1 - p) log s(-Δ)."""
    return expected_loss(sigmoid, p, chosen, rejected, beta=1.0)
