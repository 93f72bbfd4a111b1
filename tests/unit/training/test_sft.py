"""SFT's loss through the trainer itself, against one written out in float64."""

from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from charter.config import Training
from charter.training.job import Job
from tests.support.training_build import build_job, stir
from tests.support.training_data import write_sft
from tests.unit.training.test_soft_dpo import TOLERANCE, gradients, relative


def test_only_the_completion_s_tokens_count(tiny: Path, tmp_path: Path) -> None:
    """The mean over all answers' tokens of a batch, the end of the turn among them, and no token of a prompt."""
    section = {"batch_size": 6, "max_length": 256}
    data = write_sft(tmp_path / "sft.parquet", 6)
    job = Job("sft", str(tiny), data, tmp_path / "out", Training.model_validate({"sft": section}), 0, "")
    trainer, rows, _ = build_job(job)
    trainer.model.double()
    stir(trainer.model)
    (batch,) = trainer.get_train_dataloader()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()

    policy = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float64)
    policy.load_state_dict(trainer.model.state_dict())
    speaks = AutoTokenizer.from_pretrained(tiny).convert_tokens_to_ids("<|assistant|>")
    learnt = []
    for row in rows.kept:
        ids = torch.tensor(row["input_ids"])
        start = row["input_ids"].index(speaks) + 1
        logits = policy(ids[None]).logits[0, start - 1 : -1]
        learnt.append(F.log_softmax(logits, -1).gather(1, ids[start:, None])[:, 0])
    expected = -torch.cat(learnt).mean()
    expected.backward()
    assert relative(loss.detach(), expected.detach()) <= TOLERANCE
    assert relative(gradients(trainer.model), gradients(policy)) <= TOLERANCE
