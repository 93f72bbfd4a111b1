"""The losses against an independent implementation in float64, and against TRL's own where they must agree."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, TrainerCallback

from charter.config import Dpo, Training
from charter.training import models
from tests.support.training_build import BETA, build_random, stir, whole_batch
from tests.support.training_data import pairs

TOLERANCE = 1e-5


def in_float64(tiny: Path, trainer: Any, method: str) -> Any:
    """The trainer's weights in a model that TRL has not touched."""
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    if method == "lora":
        from peft import get_peft_model

        model = get_peft_model(model, models.adapters(Training(method="lora", lora_rank=4)))
    model = model.double()
    model.load_state_dict(trainer.model.state_dict())
    return model.eval()


def log_probability(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """log p(answer | prompt), token by token."""
    ids = torch.tensor([prompt + answer])
    logits = model(ids).logits[0, len(prompt) - 1 : -1]
    return F.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None])[:, 0]


def pair_loss(dpo: Dpo, p: float, chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """In closed form, where the code takes the mean over the label."""
    if dpo.loss == "sigmoid":
        logits = torch.stack([BETA * (chosen - rejected), -BETA * (chosen - rejected)])
        return -(torch.tensor([p, 1 - p], dtype=torch.float64) * F.logsigmoid(logits)).sum()
    if dpo.loss == "ipo":
        aim, least = (2 * p - 1) / (2 * BETA), (1 - (2 * p - 1) ** 2) / (4 * BETA**2)
        return torch.square(chosen - rejected - aim) + least
    return 1 + (2 * p - 1) * (torch.sigmoid(BETA * rejected) - torch.sigmoid(BETA * chosen))


def reference_loss(policy: Any, start: Any, batch: list[dict[str, Any]], dpo: Dpo) -> torch.Tensor:
    """The mean over pairs, plus the mean negative log-likelihood of the chosen tokens."""
    losses, chosen_tokens = [], []
    for row in batch:
        ratios = []
        for side in ("chosen_ids", "rejected_ids"):
            tokens = log_probability(policy, row["prompt_ids"], row[side])
            with torch.no_grad():
                was = log_probability(start, row["prompt_ids"], row[side]).sum()
            per_token = dpo.length_normalised or dpo.loss == "ipo"
            ratios.append((tokens.sum() - was) / (len(tokens) if per_token else 1))
            chosen_tokens += [tokens] if side == "chosen_ids" else []
        losses.append(pair_loss(dpo, row.get("p_chosen", 1.0), *ratios))
    return torch.stack(losses).mean() - dpo.sft_weight * torch.cat(chosen_tokens).mean()


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.requires_grad and p.grad is not None])


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other).norm() / other.norm())


def compare(
    tiny: Path, folder: Path, p: float | None, dtype: torch.dtype = torch.float64, method: str = "full", **dpo: Any
) -> tuple[float, float]:
    """How far loss and gradients are from the reference, relative to it."""
    trainer, rows = build_random(tiny, folder, 6, p, method=method, **dpo)
    start = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float64).eval()
    batch = whole_batch(trainer)
    trainer.model.to(dtype)
    if trainer.ref_model is not None:
        trainer.ref_model.to(dtype)
    elif dtype == torch.float64 and "ref_chosen_logps" in batch:
        for side in ("chosen", "rejected"):
            with torch.no_grad():
                exact = [log_probability(start, row["prompt_ids"], row[f"{side}_ids"]).sum() for row in rows.kept]
            batch[f"ref_{side}_logps"] = torch.stack(exact)
    stir(trainer.model)
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    policy = in_float64(tiny, trainer, method)
    expected = reference_loss(policy, start, rows.kept, trainer._dpo)
    expected.backward()
    return relative(loss.detach(), expected.detach()), relative(gradients(trainer.model), gradients(policy))


LABELS = [0.51, 0.6, 0.75, 0.9, 0.99, 1.0, None]
METHODS = pytest.mark.parametrize("method", ["full", "lora"])
OTHERS = [
    {"loss": "sigmoid", "length_normalised": True},
    {"loss": "ipo"},
    {"loss": "apo-zero"},
    {"loss": "apo-zero", "length_normalised": True},
]


def name_of(value: Any) -> str:
    if isinstance(value, dict):
        return str(value["loss"]) + ("-per-token" if "length_normalised" in value else "")
    return f"p={value or 'mixed'}"


@METHODS
@pytest.mark.parametrize("sft_weight", [0.0, 0.2], ids=["plain", "with-sft"])
@pytest.mark.parametrize("p", LABELS, ids=name_of)
def test_soft_dpo_is_the_reference_when_computed_in_float64(
    tiny: Path, tmp_path: Path, p: float | None, sft_weight: float, method: str
) -> None:
    """Model and reference log-probabilities in float64: what is left is the formula, here at its strictest."""
    loss, gradient = compare(tiny, tmp_path, p, method=method, sft_weight=sft_weight)
    assert loss <= TOLERANCE
    assert gradient <= TOLERANCE


@METHODS
@pytest.mark.parametrize("dpo", OTHERS, ids=name_of)
@pytest.mark.parametrize("p", [0.51, 0.75, 1.0, None], ids=name_of)
def test_the_other_losses_are_their_references(
    tiny: Path, tmp_path: Path, p: float | None, dpo: dict[str, Any], method: str
) -> None:
    loss, gradient = compare(tiny, tmp_path, p, method=method, **dpo)
    assert loss <= TOLERANCE
    assert gradient <= TOLERANCE


@METHODS
@pytest.mark.parametrize("p", [0.51, 1.0, None], ids=name_of)
def test_a_reference_computed_at_every_step_is_the_same(
    tiny: Path, tmp_path: Path, p: float | None, method: str
) -> None:
    loss, gradient = compare(tiny, tmp_path, p, method=method, precompute_reference=False)
    assert loss <= TOLERANCE
    assert gradient <= TOLERANCE
    assert not (tmp_path / "out" / "reference.parquet").exists()


@METHODS
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("p", LABELS, ids=name_of)
def test_the_loss_in_float32_is_near_the_reference(
    tiny: Path, tmp_path: Path, p: float | None, seed: int, method: str
) -> None:
    """As it is trained, on more than one data set, because rounding depends on the data.

    A gradient is proportional to p - sigmoid(beta * delta), a small difference of near-equal numbers where p is near
    a half. At p = 0.51 that amplifies the rounding of any float32 forward pass: over eight data sets 2.3e-5 was
    seen, the same with the loss written out plainly or its last step in float64. So the bound is wider there.
    """
    loss, gradient = compare(tiny, tmp_path, p, torch.float32, method=method, seed=seed, sft_weight=0.0)
    assert loss <= TOLERANCE
    assert gradient <= (1e-4 if p == 0.51 else TOLERANCE)


class KeepGradients(TrainerCallback):
    kept: torch.Tensor

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.kept = gradients(model)


@METHODS
@pytest.mark.parametrize("precompute", [True, False], ids=["precomputed", "every-step"])
def test_accumulated_gradients_match_float64(tiny: Path, tmp_path: Path, method: str, precompute: bool) -> None:
    trainer, rows = build_random(
        tiny,
        tmp_path,
        8,
        None,
        batch_size=4,
        gradient_accumulation=2,
        method=method,
        precompute_reference=precompute,
        watch="off",
    )
    trainer.args.max_grad_norm = 0.0  # no clipping
    keep = KeepGradients()
    trainer.add_callback(keep)
    policy = in_float64(tiny, trainer, method)  # as it was before its one step
    trainer.train()
    assert trainer.state.global_step == 1

    start = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float64).eval()
    order = list(trainer.order)
    for half in (order[:4], order[4:]):
        (reference_loss(policy, start, [rows.kept[i] for i in half], trainer._dpo) / 2).backward()
    assert relative(keep.kept, gradients(policy)) <= TOLERANCE


STOCK = {
    "sigmoid": {},
    "sigmoid_norm": {"length_normalised": True},
    "ipo": {"loss": "ipo"},
    "apo_zero": {"loss": "apo-zero"},
}


@pytest.mark.parametrize("sft_weight", [0.0, 0.2], ids=["plain", "with-sft"])
@pytest.mark.parametrize("stock_loss", STOCK)
def test_certain_labels_are_the_stock_loss_exactly(
    tiny: Path, tmp_path: Path, stock_loss: str, sft_weight: float
) -> None:
    from datasets import Dataset
    from trl import DPOTrainer

    ours, _ = build_random(tiny, tmp_path, 6, 1.0, sft_weight=sft_weight, **STOCK[stock_loss])
    arguments = copy.deepcopy(ours.args)
    arguments.loss_type = [stock_loss, *(["sft"] if sft_weight else [])]
    arguments.loss_weights = [1.0, *([sft_weight] if sft_weight else [])]
    plain = [
        {
            "prompt": row["prompt"],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in pairs(6, p=1.0)
    ]
    stock = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32),
        args=arguments,
        train_dataset=Dataset.from_list(plain),
        processing_class=copy.deepcopy(ours.processing_class),
    )
    losses = []
    for trainer in (ours, stock):
        stir(trainer.model)
        losses.append(trainer.compute_loss(trainer.model, whole_batch(trainer)))
        losses[-1].backward()
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(gradients(ours.model), gradients(stock.model))


def test_hard_labels_are_the_verdict(tiny: Path, tmp_path: Path) -> None:
    trainer, rows = build_random(tiny, tmp_path, 4, 0.6, soft_labels=False)
    assert "p_chosen" not in whole_batch(trainer)
    assert "p_chosen" not in rows.kept[0]
    loss, gradient = compare(tiny, tmp_path, 0.6, soft_labels=False)
    assert loss <= TOLERANCE
    assert gradient <= TOLERANCE


def test_first_loss_is_log_two_whatever_the_labels(tiny: Path, tmp_path: Path) -> None:
    trainer, _ = build_random(tiny, tmp_path, 6, None, sft_weight=0.0)
    assert trainer.compute_loss(trainer.model, whole_batch(trainer)).item() == pytest.approx(0.693147, abs=1e-5)
