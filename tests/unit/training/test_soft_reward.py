"""The reward model's loss against float64 and against TRL's own, and a reward model that learns to rank."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification

from charter.training import models
from charter.training.models import load_tokenizer
from charter.training.rewards import by_model
from tests.support.training_build import build_reward, stir, whole_batch
from tests.support.training_data import pairs, separable

TOLERANCE = 1e-5


def reference_loss(policy: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    """In closed form, pair by pair, without padding: the cross-entropy of p is softplus(-d) + (1 - p) d."""
    losses = []
    for row in rows:
        ids = (torch.tensor([row["prompt_ids"] + row[side]]) for side in ("chosen_ids", "rejected_ids"))
        chosen, rejected = (policy.score(policy.model(each).last_hidden_state[0, -1])[0] for each in ids)
        difference = chosen - rejected
        losses.append(F.softplus(-difference) + (1 - row.get("p_chosen", 1.0)) * difference)
    return torch.stack(losses).mean()


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other).norm() / other.norm())


def a_copy(trainer: Any) -> Any:
    """The trainer's weights in a model that TRL has not touched."""
    model = type(trainer.model)(copy.deepcopy(trainer.model.config))
    model.load_state_dict(trainer.model.state_dict())
    return model


@pytest.mark.parametrize("p", [0.51, 0.6, 0.75, 0.9, 0.99, 1.0, None], ids=lambda p: f"p={p or 'mixed'}")
def test_the_soft_loss_is_the_reference(tiny: Path, tmp_path: Path, p: float | None) -> None:
    trainer, rows, _ = build_reward(tiny, tmp_path, pairs(6, p=p))
    trainer.model.double()
    stir(trainer.model)
    policy = a_copy(trainer).double().eval()
    policy.load_state_dict(trainer.model.state_dict())
    loss = trainer.compute_loss(trainer.model, whole_batch(trainer))
    loss.backward()
    expected = reference_loss(policy, rows.kept)
    expected.backward()
    assert relative(loss.detach(), expected.detach()) <= TOLERANCE
    assert relative(gradients(trainer.model), gradients(policy)) <= TOLERANCE


@pytest.mark.parametrize(("p", "soft"), [(1.0, True), (0.6, False)], ids=["certain", "verdicts"])
def test_certain_labels_are_the_stock_loss_exactly(tiny: Path, tmp_path: Path, p: float, soft: bool) -> None:
    from datasets import Dataset
    from trl import RewardTrainer

    ours, _, _ = build_reward(tiny, tmp_path, pairs(6, p=p), soft_labels=soft)
    plain = [
        {
            "prompt": row["prompt"],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in pairs(6, p=p)
    ]
    stock = RewardTrainer(
        a_copy(ours),
        args=copy.deepcopy(ours.args),
        train_dataset=Dataset.from_list(plain),
        processing_class=load_tokenizer(str(tiny)),
    )
    losses = []
    for trainer in (ours, stock):
        stir(trainer.model)
        losses.append(trainer.compute_loss(trainer.model, whole_batch(trainer)))
        losses[-1].backward()
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(gradients(ours.model), gradients(stock.model))


def ranked_right(folder: Path, tiny: Path) -> float:
    """The share of fresh pairs whose better answer has the higher score."""
    tokenizer, score = load_tokenizer(str(tiny)), by_model(folder, 16)
    render = tokenizer.apply_chat_template
    scores = []
    for side in ("chosen", "rejected"):
        rows = [
            {
                "prompt_ids": render(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"],
                "answer_ids": tokenizer(f"{row[side]}<|end|>")["input_ids"],
            }
            for row in separable(40, seed=1)
        ]
        scores.append(score(rows))
    return sum(good > bad for good, bad in zip(*scores, strict=True)) / 40


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_learns_to_rank_pairs_it_has_not_seen(tiny: Path, tmp_path: Path, method: str) -> None:
    settings = {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3}
    trainer, _, job = build_reward(tiny, tmp_path, separable(128), method, **settings)
    trainer.train()
    models.save(trainer, job)
    assert ranked_right(job.out, tiny) >= 0.95
    saved = AutoModelForSequenceClassification.from_pretrained(job.out)
    assert (saved.config.num_labels, saved.config.architectures) == (1, ["LlamaForSequenceClassification"])
    assert (job.out / "chat_template.jinja").read_bytes() == (tiny / "chat_template.jinja").read_bytes()
