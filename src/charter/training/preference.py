"""TRL's DPO and reward trainers with soft labels, their losses, and a DPO reference that is computed once.

A soft label p says that the chosen answer is the better one with probability p. The loss of such a pair is the mean
of its loss over the label,

    p * loss(chosen, rejected) + (1 - p) * loss(rejected, chosen),

so that p = 1 is the published loss, bit for bit. What that comes to, with Δ = chosen - rejected and s the sigmoid:

- ``sigmoid``: -p log s(βΔ) - (1 - p) log s(-βΔ), the cross-entropy of p, as the Constitutional AI paper
  (arXiv 2212.08073, section 4.1) trains its preference model; least where s(βΔ) = p.
- ``ipo`` (arXiv 2310.12036, eq. 17): (Δ - 1/2β)² of p = 1 aims at the margin (2p - 1)/2β instead, plus a constant.
- ``apo-zero`` (arXiv 2408.06266, eq. 7): the gradient of p = 1, times 2p - 1.

TRL's forward pass, its term for the likelihood of the chosen answer and its metrics are used as they are; only the
preference loss is replaced, computed from the same log-probabilities.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import trl
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.data import DataLoader
from trl.models import prepare_deepspeed
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference as RewardCollator
from trl.trainer.reward_trainer import RewardTrainer

from charter.config import Dpo
from charter.config.training import Loss
from charter.core.errors import TrainingError
from charter.core.files import atomic_path
from charter.training.identity import hash_table
from charter.training.order import InOrder

TRL_SERIES = "1.16."
"""The TRL whose private methods are overridden here; the reference test must pass before this is raised."""

log = logging.getLogger("charter.training")

_REFERENCE_KEY = b"charter.reference"

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
    """One loss per pair, in expectation over the label; without `p`, the verdict is treated as certain."""
    if p is None:
        return loss(chosen, rejected, beta)
    p = p.to(chosen.dtype)
    return p * loss(chosen, rejected, beta) + (1 - p) * loss(rejected, chosen, beta)


class Reference(NamedTuple):
    """log π_ref of the chosen and of the rejected answer of each pair, in nats, in the order of the pairs."""

    chosen: list[float]
    rejected: list[float]


def reference_key(weights: str, pairs: pa.Table) -> str:
    """The hash of the weights and of the tokens of `pairs`."""
    # So a run that continues, or starts again with another loss, reuses the file; another model or data does not.
    tokens = hash_table(pairs.select(["prompt_ids", "chosen_ids", "rejected_ids"]))
    return hashlib.sha256(f"{weights} {tokens}".encode()).hexdigest()


def read_reference(path: Path, key: str) -> Reference | None:
    """The file's content if it has this `key`; None if it has another one, is missing or cannot be read."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    if (table.schema.metadata or {}).get(_REFERENCE_KEY) != key.encode():
        return None
    return Reference(table["chosen"].to_pylist(), table["rejected"].to_pylist())


def write_reference(path: Path, key: str, reference: Reference) -> None:
    """Write the file that `read_reference` reads."""
    table = pa.table(reference._asdict()).replace_schema_metadata({_REFERENCE_KEY: key})
    with atomic_path(path) as unfinished:
        pq.write_table(table, unfinished)


class PairCollator(DataCollatorForPreference):  # type: ignore[misc]  # trl is seen as Any
    """TRL's collator, which also keeps ``p_chosen``."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad a batch of pairs: chosen rows first, then rejected, shape (2 * pairs, longest)."""
        batch: dict[str, Any] = super().torch_call(examples)
        if "p_chosen" in examples[0]:
            batch["p_chosen"] = torch.tensor([example["p_chosen"] for example in examples])
        return batch


class SoftDPOTrainer(InOrder, DPOTrainer):  # type: ignore[misc]  # trl is seen as Any
    """TRL's DPO trainer on tokenised pairs, with soft labels where the pairs have them.

    Args:
        *args: of TRL's trainer.
        dpo: the loss, and whether the reference is computed before training.
        kept: the file that keeps the reference's log-probabilities.
        **kwargs: of TRL's trainer.
    """

    def __init__(self, *args: Any, dpo: Dpo, kept: Path, **kwargs: Any) -> None:
        if not trl.__version__.startswith(TRL_SERIES):
            raise TrainingError(f"trl '{trl.__version__}': soft labels need trl 1.16. Run: pip install 'trl==1.16.*'")
        self._dpo = dpo
        self._kept = kept
        super().__init__(*args, **kwargs)
        self.precompute_ref_logps = True  # every batch brings them: from the file, or put there by `_compute_loss`

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Rows were tokenised and checked by `charter.training.rows`."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "p_chosen" not in self._signature_columns:
            self._signature_columns.append("p_chosen")

    def _prepare_input(self, data: Any) -> Any:
        """Only move tensors: for DeepSpeed, transformers would round log-probabilities to bfloat16, by half a nat."""
        return data.to(self.args.device) if isinstance(data, torch.Tensor) else super()._prepare_input(data)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Add the reference's log-probabilities to the pairs; the first process knows whether they were kept."""
        main, started = self.accelerator.is_main_process, time.monotonic()
        key = reference_key(self._precompute_model_hash, dataset.data.table) if main else ""
        known: list[Reference | None] = [read_reference(self._kept, key) if main else None]
        broadcast_object_list(known, from_process=0)
        reference = known[0]
        if reference is None:
            loader = self.accelerator.prepare(DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator))
            model = self.ref_model or self.model
            if self.ref_model is None and self.is_deepspeed_enabled:
                model = prepare_deepspeed(self.model, self.accelerator)
            sides = [self.accelerator.gather_for_metrics(self.compute_ref_log_probs(model, batch)) for batch in loader]
            reference = Reference(*(torch.cat(side).cpu().double().tolist() for side in zip(*sides, strict=True)))
        if main and not known[0]:
            write_reference(self._kept, key, reference)
        how = "read from" if known[0] else f"computed in {time.monotonic() - started:.1f} s and kept in"
        log.info("reference log-probabilities of %d pairs %s %s", len(dataset), how, self._kept.name)
        dataset = dataset.add_column("ref_chosen_logps", reference.chosen)
        return dataset.add_column("ref_rejected_logps", reference.rejected)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Reference log-probabilities of one batch."""
        # The model's forward would refuse the labels as an unknown argument.
        return super().compute_ref_log_probs(model, {k: v for k, v in inputs.items() if k != "p_chosen"})

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """TRL's terms beside the preference (`trainers` names only ``sft``), plus the preference."""
        inputs = dict(inputs)
        p = inputs.pop("p_chosen", None)
        if "ref_chosen_logps" not in inputs:
            reference = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
            inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = reference
        seen: list[Any] = []  # the outputs of the one forward pass, which TRL's method does not return here

        def forward(**arguments: Any) -> Any:
            seen.append(model(**arguments))
            return seen[0]

        loss = super()._compute_loss(forward, inputs, return_outputs=False)
        mask = inputs["completion_mask"]
        # Padding has log-probability 0 here, so the sum is that of the answer's tokens.
        chosen, rejected = seen[0].log_probs[:, -(mask.size(1) - 1) :].sum(dim=1).chunk(2)
        chosen, rejected = chosen - inputs["ref_chosen_logps"], rejected - inputs["ref_rejected_logps"]
        if self._dpo.length_normalised or self._dpo.loss == "ipo":
            lengths = mask.sum(dim=1).chunk(2)
            chosen, rejected = chosen / lengths[0], rejected / lengths[1]
        loss = loss + expected_loss(LOSSES[self._dpo.loss], p, chosen, rejected, self.beta).mean()
        return (loss, seen[0]) if return_outputs else loss


class WholeCollator(RewardCollator):  # type: ignore[misc]  # trl is seen as Any
    """TRL's collator, given prompt and answer in one, which also keeps ``p_chosen``."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad a batch of pairs: chosen rows first, then rejected, shape (2 * pairs, longest)."""
        sides = ("chosen_ids", "rejected_ids")
        whole = [{side: example["prompt_ids"] + example[side] for side in sides} for example in examples]
        batch: dict[str, Any] = super().torch_call(whole)
        if "p_chosen" in examples[0]:
            batch["p_chosen"] = torch.tensor([example["p_chosen"] for example in examples])
        return batch


class SoftRewardTrainer(InOrder, RewardTrainer):  # type: ignore[misc]  # trl is seen as Any
    """TRL's reward trainer on tokenised pairs, with soft labels where the pairs have them."""

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["prompt_ids", "chosen_ids", "rejected_ids", "p_chosen"]

    def _prepare_input(self, data: Any) -> Any:
        """Only move tensors: for DeepSpeed, transformers would round the labels to bfloat16."""
        return data.to(self.args.device) if isinstance(data, torch.Tensor) else super()._prepare_input(data)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss, which treats each verdict as certain, or the soft one where there are labels."""
        inputs = dict(inputs)
        p = inputs.pop("p_chosen", None)
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if p is not None:
            chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
            # Bradley-Terry on the scores of both answers: -p log s(Δ) - (1 - p) log s(-Δ).
            loss = expected_loss(sigmoid, p, chosen, rejected, beta=1.0).mean()
        return (loss, outputs) if return_outputs else loss
