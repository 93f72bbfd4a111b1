"""TRL's reward trainer with soft labels, on the pairs that DPO would be trained on."""

from typing import Any

import torch
from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer

from charter.training.losses import bradley_terry
from charter.training.order import InOrder


class WholeCollator(DataCollatorForPreference):  # type: ignore[misc]  # trl is seen as Any
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
        """TRL's loss takes each verdict as certain; where there are labels, theirs takes its place."""
        inputs = dict(inputs)
        p = inputs.pop("p_chosen", None)
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if p is not None:
            chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
            loss = bradley_terry(p, chosen, rejected).mean()
        return (loss, outputs) if return_outputs else loss
