"""DPO with a probability per pair instead of a verdict.

    loss = -p log s(βΔ) - (1 - p) log s(-βΔ),   Δ = log π/π_ref (chosen) - log π/π_ref (rejected),   s the sigmoid,

the cross-entropy of the judge's p, as the Constitutional AI paper (arXiv 2212.08073, section 4.1) trains its
preference model. TRL has no such loss, but its ``robust`` one,
``(-(1 - ε) log s(βΔ) + ε log s(-βΔ)) / (1 - 2ε)``, is this one for ε = (p - 1)/(2p - 1), pair by pair; p = 1 gives
ε = 0 and stock DPO bit for bit. At p = ½ it is singular, and such pairs are ties that never get here.
"""

from typing import Any

import torch
import trl
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from charter.errors import TrainingError
from charter.training.order import InOrder

TRL_SERIES = "1.16."
"""The TRL whose private methods are overridden here; the reference test must pass before this is raised."""


class PairCollator(DataCollatorForPreference):  # type: ignore[misc]  # trl is seen as Any
    """TRL's collator, which also keeps ``p_chosen``."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pad a batch of pairs: chosen rows first, then rejected, shape (2 * pairs, longest)."""
        batch: dict[str, Any] = super().torch_call(examples)
        if "p_chosen" in examples[0]:
            batch["p_chosen"] = torch.tensor([example["p_chosen"] for example in examples])
        return batch


class SoftDPOTrainer(InOrder, DPOTrainer):  # type: ignore[misc]  # trl is seen as Any
    """TRL's DPO trainer on tokenised pairs, with soft labels where the pairs have them and ``robust`` is the loss."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not trl.__version__.startswith(TRL_SERIES):
            raise TrainingError(f"trl '{trl.__version__}': soft labels need trl 1.16. Run: pip install 'trl==1.16.*'")
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Rows were tokenised and checked by `charter.training.rows`."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "p_chosen" not in self._signature_columns:
            self._signature_columns.append("p_chosen")

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Reference log-probabilities of one batch; the model is not given the labels."""
        return super().compute_ref_log_probs(model, {k: v for k, v in inputs.items() if k != "p_chosen"})

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        inputs = dict(inputs)
        p = inputs.pop("p_chosen", None)
        if p is not None:
            self.label_smoothing = (p - 1) / (2 * p - 1)
        return super()._compute_loss(model, inputs, return_outputs)
