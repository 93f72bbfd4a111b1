"""SFT and DPO."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from charter.config.section import Count, Section, Share


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

    beta: Annotated[float, Field(gt=0)] = 0.1
    """How strongly the model is held to its reference."""
    sft_weight: Annotated[float, Field(ge=0)] = 0.2
    """Weight of the likelihood of the chosen answer, which keeps it from falling; 0 is plain DPO."""
    soft_labels: bool = True
    """Train on the judge's probability; off: on its verdict."""


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
    accelerate_config: Path | None = None
    """An accelerate YAML for FSDP, DeepSpeed or several machines; plain data parallelism when empty."""
    sft: Sft = Sft()
    """Supervised fine-tuning."""
    dpo: Dpo = Dpo()
    """Preference optimisation."""
