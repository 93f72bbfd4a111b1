"""From prompts to pairs: where prompts come from, how answers are generated and revised, and which become pairs."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from charter.config.section import (
    ACCEPT_EXPONENT,
    EnvVarName,
    Fraction,
    LocalPath,
    PathOrName,
    PositiveInt,
    Section,
    ServerAddress,
    Threshold,
)

LongAnswers = Literal["trim", "shorten", "drop"]
"""What happens to an answer that is longer than `max_tokens`."""


class Prompts(Section):
    """The prompts of a run."""

    advanced = frozenset({"answers", "format", "near_duplicates"})

    source: PathOrName = "sandbox"
    """`sandbox`, or a path: .jsonl, .json, .csv, .tsv (each also .gz, .zst, .bz2, .xz), .parquet, or a folder of
    Parquet files or one saved by `datasets`, with its split as in `folder:train`; or the name of a source that a plugin
    registers."""
    n: PositiveInt | None = None
    """How many prompts to use, drawn at random by `seed`; all of them when empty."""
    column: str = "prompt"
    """The column that holds the prompt: a string, or a list of messages."""
    format: Literal["auto", "column", "hh-rlhf"] = "auto"
    """`column` reads one column; `hh-rlhf` reads whole Human/Assistant transcripts; `auto` looks at the first row."""
    answers: str | None = None
    """Critique and revise answers that exist, in place of asking a model: `last-turn` if they end the conversations, or
    the name of the column that holds them."""
    near_duplicates: Threshold = None
    """Leave out a conversation that has this fraction of its three-word sequences in common with an earlier one; off
    when empty. Conversations that differ only in case or spacing are always left out. When on, the words of all prompts
    are held in memory. When off, near duplicates can be in both train and test of `charter export`, and in both halves
    of training."""


class Selection(Section):
    """Which principles are used for a row in a round of critique and revision."""

    how: Literal["sample", "all", "one-per-tag"] = "sample"
    """`sample` draws principles by weight, `all` uses all of them, `one-per-tag` draws one of each tag."""
    principles: PositiveInt = 1
    """`sample`: principles per round. Several principles of a round share one critique request."""
    tags: tuple[str, ...] = ()
    """Only principles with one of these tags; all principles when empty."""
    replacement: bool = False
    """Draw each round from all principles. Off: no principle is drawn again until all have been drawn."""


class SamplingParameters(Section):
    """Which tokens are drawn from where the temperature is above 0. Greedy answers and choices are not affected."""

    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Draw from the most probable tokens that have this probability together; 1 draws from all."""
    top_k: Annotated[int, Field(ge=-1), ACCEPT_EXPONENT] | None = None
    """Draw from this many most probable tokens; 0 or -1 draws from all."""
    min_p: Fraction | None = None
    """Draw from tokens with at least this fraction of the most probable one's probability."""
    repetition_penalty: Annotated[float, Field(gt=0.0)] | None = None
    """Divides the logits of tokens that occurred in prompt or answer; 1 changes nothing."""
    presence_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] | None = None
    """Subtracted from the logits of tokens that occurred in the answer."""
    frequency_penalty: Annotated[float, Field(ge=-2.0, le=2.0)] | None = None
    """Subtracted from the logits of tokens for each time that they occurred in the answer."""

    def effective(self) -> "SamplingParameters":
        """These parameters without those that change nothing."""
        neutral = {"top_p": (1.0,), "top_k": (0, -1), "repetition_penalty": (1.0,)}
        values = self.model_dump(exclude_none=True)
        return SamplingParameters(**{name: v for name, v in values.items() if v not in neutral.get(name, (0.0,))})

    def over(self, defaults: "SamplingParameters") -> "SamplingParameters":
        """These parameters, with the defaults for those that are empty, without those that change nothing."""
        values = defaults.model_dump(exclude_none=True) | self.model_dump(exclude_none=True)
        return SamplingParameters(**values).effective()


class RoleModel(Section):
    """A model that does one job of a run, beside the one that is aligned; that one does it when all is empty."""

    model: PathOrName | None = None
    """`sandbox`, a folder or a hub id, served beside `model`; with `base_urls` its name at those servers."""
    base_urls: tuple[ServerAddress, ...] = ()
    """Running servers of the model."""
    api_key_env: EnvVarName | None = None
    """The environment variable with the API key of these servers. When empty they get the key of `serving` if they are
    on the hosts of `serving.base_urls`, and no key otherwise."""


class Generation(Section):
    """How responses, critiques and revisions are generated."""

    advanced = frozenset({
        "critic", "critique_temperature", "concurrency", "flag_above", "long_answers", "max_lost_share", "responder",
        "reviser", "sampling", "shard_size", "templates",
    })  # fmt: skip

    rounds: Annotated[int, Field(ge=1, le=1000), ACCEPT_EXPONENT] | Literal["all"] = 4
    """Critique and revision rounds per response; `all`: as many as it takes to use every principle once."""
    selection: Selection = Selection()
    """Which principles are used for a row in each round."""
    preface: bool = False
    """Give the constitution's preface to the model that critiques, revises and judges, as a system message."""
    # A small model that is asked to repeat a fine answer rewrites it, and the pair that results teaches noise.
    # `always` is what Bai et al. (2022) do.
    revise: Literal["flagged", "always"] = "flagged"
    """Ask for a revision only when the critique found a violation, or always."""
    flag_above: Fraction = 0.5
    """A critique without a verdict in its text is asked for one as a choice of two words: it finds a violation if the
    probability of that word is above this."""
    max_tokens: PositiveInt = 1024
    """The longest answer, critique or revision, in tokens."""
    long_answers: LongAnswers = "trim"
    """Answers and revisions that are longer. `trim`: keep them up to the last complete sentence. `shorten`: ask once
    for a shorter answer, and trim it if that is too long as well. `drop`: leave the row out."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    """Sampling temperature of responses; critiques and revisions use `critique_temperature`."""
    critique_temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Sampling temperature of critiques and revisions; 0 is greedy."""
    sampling: SamplingParameters = SamplingParameters()
    """Further parameters of sampled answers. Those that are empty are as the model's `generation_config.json` says, if
    its files are on this machine."""
    responder: RoleModel = RoleModel()
    """Another model for the first answers. Its answers are not the trained model's own, which DPO learns less from."""
    critic: RoleModel = RoleModel()
    """Another model, such as a strong teacher, for critiques, and for revisions unless `reviser` names one."""
    reviser: RoleModel = RoleModel()
    """Another model for revisions; the critic's when empty."""
    concurrency: PositiveInt | Literal["auto"] = "auto"
    """Calls in flight at a model's servers, over all shards of this process. `auto` is 128, doubled while vLLM has no
    queue, halved when a server refuses calls."""
    shard_size: PositiveInt = 500
    """Prompts per shard; a shard of a stage is one task in Prefect."""
    max_lost_share: Fraction = 0.5
    """Stop a run that loses more than this fraction of its rows to failures, such as answers that are cut off; 1 turns
    this off. It is checked over the first rows of each stage (100, or a tenth of them) and over all rows at the end.
    Rows that are left out by design, such as ties, do not count."""
    templates: LocalPath | None = None
    """A folder whose templates replace the shipped ones of the same name."""


class Strategies(Section):
    """How answers become pairs: the fraction of DPO's prompts, drawn at random, for each strategy; 0 turns it off."""

    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True)

    revision: Fraction = 1.0
    """The last revision paired with the first answer."""
    every_revision: Fraction = 0.0
    """Each revision paired with the answer it revised."""
    helpful: Fraction = 0.0
    """Two answers in which no critique found a violation, judged only by the principles tagged `helpful` (or, if there
    are none, by a shipped principle against needless refusal), so that harmlessness does not become evasion."""
    samples: Fraction = 0.0
    """Several answers to the prompt, paired two by two."""
    best_worst: Fraction = 0.0
    """Of several answers to the prompt, the one that the judge ranks highest paired with the one it ranks lowest. Half
    of the principles rank and the others label, at most `judge.principles` each."""
    on_policy: Fraction = 0.0
    """As `samples`, but only in rounds after the first (`training.rounds`), where the answering model is the one that
    DPO continues from, so that both answers of a pair are its own. In the first round the base model answers, and DPO
    does not start from the base model."""
    custom: dict[str, Fraction] = Field(default_factory=dict)
    """Shares of strategies that plugins register, by name, such as `{mine: 0.5}`."""

    @property
    def shares(self) -> dict[str, float]:
        """The share of every strategy, by the name that it has in the data."""
        return self.model_dump(by_alias=True, exclude={"custom"}) | self.custom

    @model_validator(mode="after")
    def _make_some_pairs(self) -> Self:
        if not any(self.model_dump(exclude={"on_policy"}).values()):
            exception = " except on-policy, which is off in the first round" if self.on_policy else ""
            raise ValueError(
                f"all shares are 0{exception}, so there would be no pairs; set one of them, such as revision: 1"
            )
        return self


class Filters(Section):
    """Which pairs are left out. Each one left out is kept among the failures, with its reason."""

    near_identical: Threshold = 0.98
    """Leave out pairs whose answers have this fraction of their words in common, in order; off when empty."""
    repetition: Threshold = 0.6
    """Leave out an answer that repeats itself: when this fraction of its four-word sequences occurred before, in the
    whole answer or in any 60 words of it; off when empty."""
    length_ratio: Annotated[float, Field(gt=1.0)] | None = None
    """Leave out pairs in which one answer has more than this many times the words of the other; off when empty."""
    language: bool = False
    """Leave out answers in another language than the constitution's, detected by script and most frequent words."""
    custom: tuple[str, ...] = ()
    """Names of further filters, which plugins register."""
    drop_contradictions: bool = False
    """Leave out pairs for which the judge prefers a different answer in each order. Off: the mean of both counts."""


class Pairs(Section):
    """Which answers become pairs, and which pairs are trained on."""

    advanced = frozenset({"helpful_share", "length_balance"})
    renamed: ClassVar = {"n": "answers_per_prompt"}

    strategies: Strategies = Strategies()
    """How answers become pairs; strategies can be combined."""
    answers_per_prompt: Annotated[int, Field(ge=2, le=64), ACCEPT_EXPONENT] = 4
    """Answers per prompt, including the first one, for `samples` and `on-policy` (n/2 pairs) and for `best-worst`
    (n (n-1)/2 comparisons)."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    """Sampling temperature of the answers after the first one."""
    filters: Filters = Filters()
    """Which pairs are left out."""
    helpful_share: Fraction = 0.5
    """At most this fraction of all pairs comes from the strategy `helpful`; those over it are left out at random."""
    length_balance: bool = False
    """Leave out pairs at random until the chosen answer is the longer one as often as the shorter one, and by as much
    (in bands that double): judges favour long answers."""

    @property
    def sampled(self) -> bool:
        """Whether prompts are answered more than once."""
        shares = self.strategies
        return any((shares.samples, shares.best_worst, shares.on_policy, shares.helpful, *shares.custom.values()))

    @property
    def mixed(self) -> bool:
        """Whether pairs are left out to balance the dataset as a whole."""
        return self.length_balance or (self.strategies.helpful > 0 and self.helpful_share < 1)
