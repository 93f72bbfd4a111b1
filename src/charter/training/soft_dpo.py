"""TRL's DPO trainer with the losses of `charter.training.losses`, and a reference that is computed once.

TRL's forward pass, its term for the likelihood of the chosen answer and its metrics are taken as they are; the
preference loss is put in its place from the same log-probabilities.
"""

import logging
import time
from pathlib import Path
from typing import Any

import torch
import trl
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from trl.models import prepare_deepspeed
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from charter.config import Dpo
from charter.core.errors import TrainingError
from charter.training.losses import LOSSES, expected_loss
from charter.training.order import InOrder
from charter.training.reference import Reference, read_reference, reference_key, write_reference

TRL_SERIES = "1.16."
"""The TRL whose private methods are overridden here; the reference test must pass before this is raised."""

log = logging.getLogger("charter.training")


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
        *args: as TRL has them.
        dpo: the loss, and whether the reference is computed before training.
        kept: the file that keeps the reference's log-probabilities.
        **kwargs: as TRL has them.
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
        reference = known[0] or self._compute_reference(dataset, batch_size)
        if main and not known[0]:
            write_reference(self._kept, key, reference)
        how = "read from" if known[0] else f"computed in {time.monotonic() - started:.1f} s and kept in"
        log.info("reference log-probabilities of %d pairs %s %s", len(dataset), how, self._kept.name)
        dataset = dataset.add_column("ref_chosen_logps", reference.chosen)
        return dataset.add_column("ref_rejected_logps", reference.rejected)

    def _compute_reference(self, dataset: Any, batch_size: int) -> Reference:
        loader = self.accelerator.prepare(DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator))
        model = self.ref_model or self.model
        if self.ref_model is None and self.is_deepspeed_enabled:
            model = prepare_deepspeed(self.model, self.accelerator)
        sides = [self.accelerator.gather_for_metrics(self.compute_ref_log_probs(model, batch)) for batch in loader]
        return Reference(*(torch.cat(side).cpu().double().tolist() for side in zip(*sides, strict=True)))

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Reference log-probabilities of one batch; the model is not given the labels."""
        return super().compute_ref_log_probs(model, {k: v for k, v in inputs.items() if k != "p_chosen"})

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """TRL's terms beside the preference (`trainers` names only ``sft``), plus the preference."""
        inputs = dict(inputs)
        p = inputs.pop("p_chosen", None)
        if "ref_chosen_logps" not in inputs:
            reference = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
            inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = reference
        seen: list[Any] = []

        def forward(**arguments: Any) -> Any:
            seen.append(model(**arguments))
            return seen[0]

        loss = super()._compute_loss(forward, inputs, return_outputs=False)
        loss = loss + self._preference(seen[0].log_probs, inputs, p)
        return (loss, seen[0]) if return_outputs else loss

    def _preference(self, token_logps: torch.Tensor, inputs: dict[str, Any], p: torch.Tensor | None) -> torch.Tensor:
        mask = inputs["completion_mask"]
        chosen, rejected = token_logps[:, -(mask.size(1) - 1) :].sum(dim=1).chunk(2)
        chosen, rejected = chosen - inputs["ref_chosen_logps"], rejected - inputs["ref_rejected_logps"]
        if self._dpo.length_normalised or self._dpo.loss == "ipo":
            lengths = mask.sum(dim=1).chunk(2)
            chosen, rejected = chosen / lengths[0], rejected / lengths[1]
        return expected_loss(LOSSES[self._dpo.loss], p, chosen, rejected, self.beta).mean()
