"""SFT and DPO."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from charter.config.section import Count, Section, Share

Loss = Literal["sigmoid", "ipo", "apo-zero"]
Distributed = Literal["none", "ddp", "fsdp2", "zero3"]
Watching = Literal["warn", "stop", "off"]


class Optimisation(Section):
    """Settings that both training steps have."""

    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the data."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    """The peak learning rate."""
    batch_size: Count = 8
    """Rows per step and process."""
    gradient_accumulation: Count = 1
    """Batches per optimiser step."""
    max_length: Count = 1024
    """Longer rows, in tokens, are left out and counted."""
    warmup_share: Share = 0.1
    """The share of steps over which the learning rate rises."""
    save_steps: Count = 50
    """Steps between checkpoints; a killed run continues from the last whole one."""


class Sft(Optimisation):
    """Supervised fine-tuning on revisions (SL-CAI)."""


class Dpo(Optimisation):
    """Direct preference optimisation on soft-labelled pairs."""

    loss: Loss = "sigmoid"
    """`sigmoid` is DPO; `ipo` aims at a margin of 1/(2 beta) per token, which certain pairs cannot overfit; `apo-zero`
    raises the chosen answer and lowers the rejected one, each by itself."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How strongly the model is held to its reference."""
    length_normalised: bool = False
    """Compare answers per token, not as a whole, so that a long one weighs no more than a short one; raise `beta` to 2
    or more with it. `ipo` always does."""
    sft_weight: Annotated[float, Field(ge=0)] = 0.2
    """Weight of the likelihood of the chosen answer, which keeps it from falling; 0 is plain DPO."""
    soft_labels: bool = True
    """Train on the judge's probability p: the loss is p times that of the pair, plus 1 - p times that of the pair the
    other way round. Off: on its verdict."""
    precompute_reference: bool = True
    """Compute the log-probabilities of the reference once, before training, and keep them in the run's folder; off: at
    every step, which takes one more forward pass, and a second model in memory where every weight is trained."""


class Training(Section):
    """SFT, then DPO."""

    sft_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """The share of prompts for SFT; the others make the pairs of DPO. No prompt serves both."""
    method: Literal["full", "lora"] = "full"
    """Train every weight, or low-rank adapters that are merged at the end."""
    lora_rank: Count = 16
    """Rank of the adapters."""
    processes: Count = 1
    """Training processes, one per GPU; each takes `batch_size` rows per step."""
    distributed: Distributed = "none"
    """What several processes share: `ddp` nothing, each holds the whole model; `fsdp2` (PyTorch) and `zero3`
    (DeepSpeed, to be installed) split weights, gradients and optimiser among them."""
    accelerate_config: Path | None = None
    """An accelerate YAML of one's own, in place of `distributed`: several machines, offloading, other settings."""
    watch: Watching = "warn"
    """What the watchdogs do: `warn` says what looks wrong, and stops only what cannot give a usable model; `stop` stops
    at the first; `off` is silent, and stops only at a loss that is not a number."""
    sft: Sft = Sft()
    """Supervised fine-tuning."""
    dpo: Dpo = Dpo()
    """Preference optimisation."""

    @model_validator(mode="after")
    def _launched_one_way(self) -> Self:
        if self.accelerate_config is not None and self.distributed != "none":
            raise ValueError(
                f"distributed: {self.distributed} and accelerate_config both say how to launch; leave one out"
            )
        if self.processes > 1 and self.distributed == "none" and self.accelerate_config is None:
            raise ValueError(
                f"{self.processes} processes need `distributed`: ddp where the model fits on one GPU,"
                " else fsdp2 or zero3"
            )
        return self
