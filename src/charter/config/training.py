"""SFT, then DPO or GRPO, and the measurement of what training changed."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from charter.config.section import ACCEPT_EXPONENT, Fraction, LocalPath, NonNegativeInt, PositiveInt, Section


def _off_as_word(value: Any) -> Any:
    # YAML 1.1 reads the bare word `off` as false
    return "off" if value is False else value


Loss = Literal["sigmoid", "ipo", "apo-zero"]
Distributed = Literal["none", "ddp", "fsdp2", "zero3"]
Watching = Annotated[Literal["warn", "stop", "off"], BeforeValidator(_off_as_word)]
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


_ADAPTERS = ("lora", "qlora")
LEARNING_RATES: Mapping[str, tuple[float, float]] = {
    # SFT of all weights: 5e-6 to 2e-5 in Zephyr (Tunstall et al. 2023) and Tülu 3 (Lambert et al. 2024). Adapters need
    # about ten times as much: 2e-4 in QLoRA (Dettmers et al. 2023) and "LoRA Without Regret" (Schulman et al. 2025).
    "sft": (1e-5, 2e-4),
    "dpo": (1e-5, 1e-5),  # as before: measured on the sandbox only; published runs on 7B use 5e-7 for all weights
    "reward": (1e-5, 1e-4),  # TRL's examples of reward models
    "grpo": (1e-6, 1e-5),  # TRL's default for all weights, and ten times as much
}
"""Peak learning rates of each step where none is set: for all weights, and for adapters."""


class Optimisation(Section):
    """Settings that all training steps have."""

    advanced = frozenset({"gradient_accumulation", "warmup_share", "save_steps"})

    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the data."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """The peak learning rate. When empty it is chosen by step and `training.method`: adapters need about ten times that
    of all weights (2e-4 and 1e-5 for SFT)."""
    batch_size: PositiveInt = 8
    """Rows per step and process."""
    gradient_accumulation: PositiveInt = 1
    """Batches per optimiser step."""
    max_length: PositiveInt = 1024
    """The longest row, in tokens; longer rows are left out and counted."""
    warmup_share: Fraction = 0.1
    """The fraction of steps over which the learning rate rises to its peak."""
    save_steps: PositiveInt = 50
    """Steps between checkpoints; a killed run continues from the last complete one."""


class Sft(Optimisation):
    """Supervised fine-tuning on revisions (SL-CAI)."""

    helpful_share: Fraction = 1.0
    """At most this fraction of the rows are answers that needed no revision, which keep the model helpful; the others
    are left out at random. 1: all of them stay."""


class Dpo(Optimisation):
    """Direct preference optimisation on soft-labelled pairs."""

    advanced = Optimisation.advanced | {"length_normalised", "soft_labels", "min_p", "precompute_reference"}

    loss: Loss = "sigmoid"
    """`sigmoid` is DPO. `ipo` aims at a margin of 1/(2 beta) per token, so that pairs labelled with certainty cannot be
    overfitted. `apo-zero` raises the likelihood of the chosen answer and lowers that of the rejected one,
    independently."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How strongly the model is held to its reference."""
    length_normalised: bool = False
    """Compare answers per token instead of as a whole, so that a long answer weighs no more than a short one; raise
    `beta` to 2 or more with it. `ipo` always does."""
    sft_weight: Annotated[float, Field(ge=0)] = 0.2
    """Weight of an SFT term on the chosen answer, which keeps its likelihood from falling; 0 is plain DPO."""
    soft_labels: bool = True
    """Train on the judge's probability p: the loss is p times the loss of the pair, plus 1 - p times that of the pair
    with its answers swapped. Off: train on the judge's verdict alone."""
    min_p: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.5
    """Pairs whose p is below this are not trained on; 0.5 keeps all of them."""
    precompute_reference: bool = True
    """Compute the reference's log-probabilities once, before training, and keep them in the run's folder. Off: compute
    them at every step, which costs one more forward pass, and a second model in memory with `method: full`."""


class Reward(Optimisation):
    """A reward model trained on the pairs: a number for any answer, higher where it fits the constitution better."""

    soft_labels: bool = True
    """Train on the judge's probability p, as for `dpo`. Off: train on the judge's verdict alone."""


class Grpo(Optimisation):
    """Reinforcement learning: the model answers each prompt several times, and learns from answers above the mean."""

    reward: Literal["judge", "model"] = "judge"
    """`judge`: the probability that the answer is better than the model's first one, from the judge of the pairs. The
    judge is served while this step runs, with half of `serving.memory_share` of the GPU; `budget` does not count its
    calls. `model`: the score of a reward model, which is trained before."""
    group: Annotated[int, Field(ge=2), ACCEPT_EXPONENT] = 8
    """Answers to each prompt, which are compared with each other."""
    max_tokens: PositiveInt = 512
    """The longest answer, in tokens. An answer that is cut off gets no reward."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature of these answers. An answer that is never sampled cannot be rewarded."""
    beta: Annotated[float, Field(ge=0)] = 0.04
    """How strongly the model is held to the one it started from, which needs a second model in memory. 0 disables the
    KL term and the reference model."""
    batch_size: PositiveInt = 32
    """Answers per step and process. Multiplied by `gradient_accumulation` and `processes` it must be a whole number of
    groups."""
    max_length: PositiveInt = 1024
    """The longest prompt, in tokens; longer prompts are left out and counted."""


class Training(Section):
    """SFT, then DPO or GRPO."""

    advanced = frozenset({"processes", "distributed", "accelerate_config", "watch", "tracker", "reward", "grpo"})

    preference: Literal["dpo", "grpo"] = "dpo"
    """What follows SFT: `dpo` on the pairs, or `grpo`, where the model answers and its answers are rewarded."""
    sft_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """The fraction of prompts for SFT; the others make the pairs of DPO, or are the prompts of GRPO. No prompt is used
    for both."""
    rounds: PositiveInt = 1
    """How many rounds of DPO. In each round after the first, the model of the previous round answers the prompts of the
    pairs again; the answers are critiqued, revised and judged as in the first round, by the same models, and DPO
    continues from that model. The model of the round with the best evaluation is kept."""
    method: Literal["full", "lora", "qlora"] = "full"
    """`full` trains every weight. `lora` trains low-rank adapters, which are merged at the end. `qlora` does the same
    while the other weights are held in 4 bits, in a quarter of the memory; it needs a GPU and bitsandbytes."""
    lora_rank: PositiveInt = 16
    """Rank of the adapters."""
    sft: Sft = Sft()
    """Supervised fine-tuning."""
    dpo: Dpo = Dpo()
    """Preference optimisation."""
    processes: PositiveInt = 1
    """Training processes, one per GPU; each processes `batch_size` rows per step."""
    distributed: Distributed = "none"
    """What the processes share. `ddp`: nothing, each holds the whole model. `fsdp2` (PyTorch) and `zero3` (DeepSpeed,
    extra `zero3`): weights, gradients and optimiser state are split among them."""
    accelerate_config: LocalPath | None = None
    """Your own accelerate YAML, instead of `distributed`: several machines, offloading, other settings."""
    watch: Watching = "warn"
    """What the watchdogs do. `warn`: report what looks wrong, and stop only what cannot give a usable model. `stop`:
    stop at the first problem. `off`: report nothing, and stop only when the loss is not a number."""
    tracker: Tracker = "none"
    """Where the training curves are shown in addition to the report. `mlflow` keeps all runs in mlflow.db beside their
    folders, or at MLFLOW_TRACKING_URI; the others are configured by their own environment variables. The tracker's
    package must be installed."""
    reward: Reward = Reward()
    """The reward model, for `grpo.reward: model`."""
    grpo: Grpo = Grpo()
    """Reinforcement learning, for `preference: grpo`."""

    @property
    def has_adapters(self) -> bool:
        """Whether adapters are trained instead of every weight."""
        return self.method != "full"

    @property
    def asks_judge(self) -> bool:
        """Whether training sends calls to the judge."""
        return self.preference == "grpo" and self.grpo.reward == "judge"

    @model_validator(mode="after")
    def _has_one_launcher(self) -> Self:
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
    def _qlora_is_not_split(self) -> Self:
        if self.method == "qlora" and self.distributed in ("fsdp2", "zero3"):
            raise ValueError(
                f"method: qlora holds the whole model in 4 bits in each process, and {self.distributed} would split it;"
                " set distributed: ddp, or method: lora"
            )
        return self

    @model_validator(mode="after")
    def _rounds_need_dpo(self) -> Self:
        if self.rounds > 1 and self.preference != "dpo":
            raise ValueError(
                f"{self.rounds} rounds need `preference: dpo`; under {self.preference} the model learns from its own"
                " answers at every step"
            )
        return self

    @model_validator(mode="after")
    def _batch_is_whole_groups(self) -> Self:
        grpo = self.grpo
        answers = grpo.batch_size * grpo.gradient_accumulation * self.processes
        if answers % grpo.group:
            raise ValueError(
                f"grpo: {answers} answers per step (batch_size, gradient_accumulation and processes) are not a whole"
                f" number of groups of {grpo.group}; change grpo.batch_size or grpo.group"
            )
        return self

    def settings_of(self, step: str) -> Optimisation:
        """The settings of a step, such as ``sft``, with the learning rate that is used if none is set."""
        section: Optimisation = getattr(self, step)
        if section.learning_rate is not None:
            return section
        # Not when the config is read: a run's config must not keep the rate of a method that is changed later.
        return section.model_copy(update={"learning_rate": LEARNING_RATES[step][self.method in _ADAPTERS]})


class Tokens(Section):
    """What training changed token by token, measured after training and shown in the report."""

    pairs: NonNegativeInt = 200
    """Preference pairs whose implicit reward is computed, drawn at random: the report shows those with the largest and
    the smallest margin, and some at random. 0 turns this whole section off."""
    answers: PositiveInt = 100
    """Answers to benign held-out requests over which the divergence from the base model is measured."""
