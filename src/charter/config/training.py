"""SFT, then DPO or GRPO."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from charter.config.section import Count, Section, Share

Loss = Literal["sigmoid", "ipo", "apo-zero"]
Distributed = Literal["none", "ddp", "fsdp2", "zero3"]
Watching = Literal["warn", "stop", "off"]
Tracker = Literal[
    "none",
    "mlflow",
    "tensorboard",
    "wandb",
    "trackio",
    "comet_ml",
    "clearml",
    "dvclive",
    "swanlab",
    "codecarbon",
    "azure_ml",
    "neptune",
    "dagshub",
    "flyte",
    "kubeflow",
]


class Optimisation(Section):
    """Settings that all training steps have."""

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

    helpful_share: Share = 1.0
    """At most this share of the rows are answers that needed no revision, which keep the model helpful; the others are
    left out by lot. 1: all there are."""


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
    min_p: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.5
    """Pairs of which the judge is less sure than this are not trained on; one half leaves none out."""
    precompute_reference: bool = True
    """Compute the log-probabilities of the reference once, before training, and keep them in the run's folder; off: at
    every step, which takes one more forward pass, and a second model in memory where every weight is trained."""


class Reward(Optimisation):
    """A reward model on the pairs: a number for any answer, the higher the better it fits the constitution."""

    soft_labels: bool = True
    """Train on the judge's probability p, as for `dpo`. Off: on its verdict."""


class Grpo(Optimisation):
    """Reinforcement learning: the model answers each prompt several times, and learns from what beats the mean."""

    reward: Literal["judge", "model"] = "judge"
    """`judge`: the probability that the answer is better than the model's first one, by the judge of the pairs. It is
    served while this step runs, with half of `serving.memory_share` of the GPU; `budget` does not count its calls.
    `model`: the score of a reward model, which is trained before."""
    group: Annotated[int, Field(ge=2)] = 8
    """Answers to each prompt, which are compared with each other."""
    max_tokens: Count = 512
    """The longest answer, in tokens. What is cut off has no reward."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of these answers. What the model never says cannot be rewarded."""
    beta: Annotated[float, Field(ge=0)] = 0.04
    """How strongly the model is held to the one it started from, which takes a second model in memory; 0: not."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-6
    """The peak learning rate."""
    batch_size: Count = 32
    """Answers per step and process; times `gradient_accumulation` and processes, whole groups."""
    max_length: Count = 1024
    """Longer prompts, in tokens, are left out and counted."""


class Training(Section):
    """SFT, then DPO or GRPO."""

    sft_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """The share of prompts for SFT; the others make the pairs of DPO, or are GRPO's. No prompt serves both."""
    preference: Literal["dpo", "grpo"] = "dpo"
    """What follows SFT: `dpo` on the pairs, or `grpo`, where the model answers and is rewarded for what it says."""
    rounds: Count = 1
    """How many times DPO aligns the model. In each round after the first, the model of the round before answers the
    prompts of the pairs again; the answers are critiqued, revised and judged as in the first, by the same models, and
    DPO goes on from it. Of all rounds, the model that does best in the evaluation is kept."""
    method: Literal["full", "lora", "qlora"] = "full"
    """Train every weight, or low-rank adapters that are merged at the end; with `qlora` beside weights that are held in
    4 bits while training, in a quarter of the memory (a GPU, and bitsandbytes to be installed)."""
    lora_rank: Count = 16
    """Rank of the adapters."""
    processes: Count = 1
    """Training processes, one per GPU; each takes `batch_size` rows per step."""
    distributed: Distributed = "none"
    """What several processes share: `ddp` nothing, each holds the whole model; `fsdp2` (PyTorch) and `zero3`
    (DeepSpeed, extra `zero3`) split weights, gradients and optimiser among them."""
    accelerate_config: Path | None = None
    """An accelerate YAML of one's own, in place of `distributed`: several machines, offloading, other settings."""
    watch: Watching = "warn"
    """What the watchdogs do: `warn` says what looks wrong, and stops only what cannot give a usable model; `stop` stops
    at the first; `off` is silent, and stops only at a loss that is not a number."""
    tracker: Tracker = "none"
    """Where the curves are shown besides the report: `mlflow` keeps all runs in mlflow.db beside their folders,
    or where MLFLOW_TRACKING_URI says; the others are set up by their own variables. Each is to be installed."""
    sft: Sft = Sft()
    """Supervised fine-tuning."""
    dpo: Dpo = Dpo()
    """Preference optimisation."""
    reward: Reward = Reward()
    """The reward model, for `grpo.reward: model`."""
    grpo: Grpo = Grpo()
    """Reinforcement learning, for `preference: grpo`."""

    @property
    def has_adapters(self) -> bool:
        """Whether adapters are trained, and not every weight."""
        return self.method != "full"

    @property
    def asks_judge(self) -> bool:
        """Whether the judge is asked while a model is trained."""
        return self.preference == "grpo" and self.grpo.reward == "judge"

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

    @model_validator(mode="after")
    def _four_bits_are_not_split(self) -> Self:
        if self.method == "qlora" and self.distributed in ("fsdp2", "zero3"):
            raise ValueError(
                f"method: qlora holds the whole model in 4 bits in each process, and {self.distributed} would split it;"
                " set distributed: ddp, or method: lora"
            )
        return self

    @model_validator(mode="after")
    def _rounds_are_of_pairs(self) -> Self:
        if self.rounds > 1 and self.preference != "dpo":
            raise ValueError(
                f"{self.rounds} rounds need `preference: dpo`; under {self.preference} the model learns from its own"
                " answers at every step"
            )
        return self

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        grpo, drawn = self.grpo, self.grpo.batch_size * self.grpo.gradient_accumulation * self.processes
        if drawn % grpo.group:
            raise ValueError(
                f"grpo: {drawn} answers per step (batch_size, gradient_accumulation and processes) are no whole number"
                f" of groups of {grpo.group}; change grpo.batch_size or grpo.group"
            )
        return self
