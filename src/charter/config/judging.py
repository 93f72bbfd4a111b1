"""The judge, its audit, and the people who review its labels and the verdict."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from charter.config.section import (
    EnvVarName,
    Fraction,
    Identifier,
    LocalPath,
    NonNegativeInt,
    PathOrName,
    PositiveInt,
    Section,
    ServerAddress,
)

PairFormat = Literal["auto", "hh-rlhf", "cai", "columns", "sandbox"]
"""The layout of a file of labelled pairs; ``auto`` looks at its first row, ``sandbox`` needs no file."""

PairColumn = Literal["prompt", "better", "worse", "kind", "source", "human", "better_model", "worse_model"]
"""What a column of a file of labelled pairs can hold."""


class Member(Section):
    """One member of a panel of judges. A member may represent a region, a culture or a group."""

    name: Identifier
    """The name under which its p is kept."""
    constitution: LocalPath | None = None
    """The Markdown file with its principles; the run's constitution when empty."""
    kind: str = "choice"
    """How it judges; `judge.kind` says what each kind does."""
    base_urls: tuple[ServerAddress, ...] = ()
    """Running servers of another model, which judges for this member; the judge's model when empty."""
    model: str | None = None
    """That model's name at `base_urls`; the servers are asked for it when empty."""
    api_key_env: EnvVarName | None = None
    """The environment variable with the API key of these servers. When empty they get the judge's key if they are on
    the hosts of its servers, and no key otherwise."""

    @model_validator(mode="after")
    def _model_is_served(self) -> Self:
        if self.model and not self.base_urls:
            raise ValueError(f"model '{self.model}' of a panel's member needs base_urls, where it is served")
        return self


class Judge(Section):
    """Which of two answers fits the constitution better, as a probability p."""

    advanced = frozenset({
        "api_key_env", "tags", "combine", "samples", "clamp", "score_temperature", "max_tokens", "min_agreement",
        "min_sensitivity", "max_ties", "calibration",
    })  # fmt: skip

    kind: str = "choice"
    """`choice`: A or B by log-probability. `reasoned`: the same after a chain of thought. `score`: each answer alone
    on a scale from 1 to 10. `critic`: the violations found in each answer. `panel`: several members. Or the name of a
    judge that a plugin registers."""
    model: PathOrName | None = None
    """The judge's model: `sandbox`, a folder or a hub id, served beside `model`; with `base_urls` its name at those
    servers. The run's own model judges when both are empty."""
    base_urls: tuple[ServerAddress, ...] = ()
    """Running servers of the judge, when it is another model than the run's."""
    api_key_env: EnvVarName | None = None
    """The environment variable with the API key of these servers. When empty they get the key of `serving` if they are
    on the hosts of `serving.base_urls`, and no key otherwise."""
    principles: PositiveInt = 3
    """Principles asked about each pair, each in both orders; those that shaped the pair come first."""
    tags: tuple[str, ...] = ()
    """Only principles with one of these tags judge; all principles when empty."""
    # A judge should give one half under a principle that does not bear on the difference: that is no label.
    tie_margin: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.05
    """Pairs with |p - 1/2| at or below this are ties: kept as failures, never trained on."""
    combine: Literal["log-odds", "weighted", "vote"] = "log-odds"
    """How the answers under several principles become one p. `log-odds`: the mean of their log-odds. `weighted`: the
    mean by the principles' weights, which drawing already takes into account. `vote`: (votes + 1) / (principles + 2),
    where a tie is half a vote. `critic` has its own rule."""
    samples: PositiveInt = 1
    """`reasoned`: chains of thought per question, averaged. One is generated greedily, several at temperature 1."""
    clamp: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.4
    """`reasoned`: p is kept between this and 1 minus this, because a chain of thought makes the judge overconfident."""
    score_temperature: Annotated[float, Field(gt=0)] = 1.0
    """`score`: the difference in points that makes the odds e to 1; `fit_score_temperature` estimates it from labelled
    pairs."""
    max_tokens: PositiveInt = 1024
    """`reasoned`, `critic`: the longest chain of thought or critique, in tokens. One that is cut off counts up to its
    last complete sentence."""
    panel: tuple[Member, ...] = ()
    """`panel`: its members, two or more. Pairs on which they disagree are left for people to decide
    (`review.labels`), and are not trained on before that."""
    audit: LocalPath | None = None
    """An audit.json of `charter judge audit`. A run refuses to start if it is about another model, or if the judge did
    not reach `min_agreement`."""
    min_agreement: Fraction = 0.8
    """What `audit` must show: the lower end of the 95 % interval of the judge's agreement with the labels."""
    min_sensitivity: Fraction = 0.0
    """What `audit` must show: the lower end of the interval of how much more probable the better answer is under
    principles that apply than under principles that do not. A judge at 0 prefers the same answer whatever the principle
    says; 0 asks for nothing."""
    max_ties: Fraction = 0.5
    """The fraction of pairs of the audit that may be ties. Agreement is measured on the other pairs only, so a judge
    that is rarely sure is rarely wrong."""
    calibration: Literal["temperature", "isotonic"] | None = None
    """Calibrate each label with the curve of this name that `audit` fitted to half of its pairs; no calibration when
    empty."""

    @model_validator(mode="after")
    def _calibration_has_an_audit(self) -> Self:
        if self.calibration and not self.audit:
            raise ValueError(f"calibration '{self.calibration}' is fitted by an audit; name its audit.json in `audit`")
        return self

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> Self:
        names = [member.name for member in self.panel]
        if (self.kind == "panel") != bool(names) or len(names) == 1 or len(set(names)) < len(names):
            raise ValueError("a panel needs `kind: panel` and two or more members in `panel`, each with its own name")
        reasons = "reasoned" in (self.kind, *(member.kind for member in self.panel))
        if reasons and 0.5 - self.clamp <= self.tie_margin:
            raise ValueError(f"clamp {self.clamp:g} leaves nothing outside tie_margin {self.tie_margin:g}; lower one")
        return self


class Audit(Section):
    """The audit of the judge on pairs whose better answer is known: `charter judge audit`, `flows.audit`."""

    advanced = frozenset({"columns", "own_names"})
    renamed: ClassVar = {"own": "own_names"}

    source: PathOrName = "sandbox"
    """A file of labelled pairs (as `prompts.source`), or `sandbox`, whose oracle labels them."""
    format: PairFormat = "auto"
    """The layout of the file: `hh-rlhf` transcripts, the `cai` paper's evaluations, or `columns`."""
    n: PositiveInt = 400
    """How many pairs, drawn at random by `seed`."""
    sensitivity: NonNegativeInt = 100
    """How many of the pairs are also judged under a principle that does not apply and under an inverted one, to see
    whether the judge reads the principle; 0 for none."""
    output: LocalPath | None = None
    """The folder for audit.json, audit.html and the rows; `judge-audit` in the run's folder when empty."""
    columns: dict[PairColumn, str] = Field(default_factory=dict)
    """The file's column names, where they differ from the standard ones, such as better: chosen."""
    own_names: tuple[str, ...] = ()
    """The names that the data uses for the judge's model as the author of an answer; the model's own names when empty.
    They show whether the judge favours its own answers."""


class Review(Section):
    """People in the loop: they look at the labels before anything is trained, and sign the verdict."""

    labels: bool = False
    """Ask people about a sample of the pairs before training. A run of a deployment is suspended until they answer."""
    sign_off: bool = False
    """Ask people to sign a verdict of go. Until someone has signed, the verdict is no-go."""
    n: PositiveInt = 60
    """Pairs in the sample: up to a third on which a panel disagreed, a third of which the judge is least sure, and the
    rest at random."""
    timeout_hours: Annotated[float, Field(gt=0.0, le=8760.0)] = 72.0
    """How long a suspended run waits, in hours. Without an answer by then the run fails: nothing is trained, and an
    unsigned verdict stays no-go."""
