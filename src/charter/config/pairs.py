"""How answers become pairs, and which of them are trained on."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from charter.config.section import Section, Share


class Strategies(Section):
    """How answers become pairs. Each number is the share of DPO's prompts it is used for, drawn by lot; 0 is off."""

    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True)

    revision: Share = 1.0
    """The last revision against the first answer."""
    every_revision: Share = 0.0
    """A ladder: every revision against the answer before it."""
    helpful: Share = 0.0
    """Two answers to a prompt in which no critique found fault, judged by the principles tagged `helpful` alone (by a
    shipped one on needless refusal, if there are none), so that harmlessness does not become evasion."""
    samples: Share = 0.0
    """Several answers to the prompt, two by two."""
    best_worst: Share = 0.0
    """Of several answers to the prompt, the one that the judge likes best against the one it likes least."""
    on_policy: Share = 0.0
    """As `samples`, but only in rounds after the first (`training.rounds`): there the model answers that DPO goes on
    from, so that both answers of a pair are its own. In the first round the base model answers, from which DPO does not
    start."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any(self.model_dump(exclude={"on_policy"}).values()):
            but = " but that of on-policy, which is off in the first round" if self.on_policy else ""
            raise ValueError(
                f"all shares are 0{but}, so that there would be no pairs; give one a share, such as revision: 1"
            )
        return self


class Filters(Section):
    """Which pairs are left out. Each is kept among the failures, with its reason."""

    near_identical: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.98
    """Answers that agree in this share of their words, in order, are one answer; off when empty."""
    repetition: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.6
    """An answer goes round in circles when this share of its runs of four words came before, in the whole of it or in
    60 words; off when empty."""
    length_ratio: Annotated[float, Field(gt=1.0)] | None = None
    """One answer may be this many times as long as the other, in words; any length when empty."""
    language: bool = False
    """Leave out answers in another language than the constitution's, as told by script and most frequent words."""
    drop_contradictions: bool = False
    """Leave out labels whose two orders prefer different answers; off: their mean counts."""


class Pairs(Section):
    """Which answers become pairs, and which pairs are trained on."""

    strategies: Strategies = Strategies()
    """How answers become pairs; any of them together."""
    n: Annotated[int, Field(ge=2, le=64)] = 4
    """Answers per prompt, the first one included, for `samples` and `on-policy` (n/2 pairs) and for `best-worst`
    (n (n-1)/2 comparisons)."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    """Sampling temperature of the answers after the first one."""
    helpful_share: Share = 0.5
    """The mix: pairs of `helpful` are at most this share of all pairs; those over it leave by lot."""
    filters: Filters = Filters()
    """Which pairs are left out."""
    length_balance: bool = False
    """Leave out as many pairs, by lot, as it takes for the chosen answer to be the longer one as often as the shorter,
    and by as much (in bands that double): judges favour what is long."""

    @property
    def sampled(self) -> bool:
        """Whether prompts are answered more than once."""
        shares = self.strategies
        return any((shares.samples, shares.best_worst, shares.on_policy, shares.helpful))

    @property
    def mixed(self) -> bool:
        """Whether pairs leave for the sake of the whole."""
        return self.length_balance or (self.strategies.helpful > 0 and self.helpful_share < 1)
