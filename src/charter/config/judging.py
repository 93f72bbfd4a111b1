"""Who judges, and how."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from charter.config.section import Address, Count, Section, Share, Variable

JudgeKind = Literal["choice", "reasoned", "score", "critic"]


class Member(Section):
    """One member of a panel of judges, which may speak for a region, a culture or a group."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """The name under which its p is kept."""
    constitution: Path | None = None
    """The Markdown file with its principles; the run's constitution when empty."""
    kind: JudgeKind = "choice"
    """How it judges; `judge.kind` says what each kind does."""
    base_urls: tuple[Address, ...] = ()
    """Servers that already run and serve another model, which judges for this member; the judge's model when empty."""
    api_key_env: Variable | None = None
    """The environment variable with their key. When empty they get the judge's key if they are on its servers' hosts,
    and none otherwise."""
    model: str | None = None
    """That model's name at `base_urls`; asked from the servers when empty."""

    @model_validator(mode="after")
    def _model_is_served(self) -> "Member":
        if self.model and not self.base_urls:
            raise ValueError(f"model '{self.model}' of a panel's member needs base_urls, where it is served")
        return self


class Judge(Section):
    """Which of two answers fits the constitution better, as a probability."""

    kind: JudgeKind | Literal["panel"] = "choice"
    """`choice`: A or B by log-probability. `reasoned`: the same after a chain of thought. `score`: each answer alone
    on a scale from 1 to 10. `critic`: the violations found in each answer. `panel`: several members."""
    model: str | None = None
    """The judge's model: `sandbox`, a folder or a hub id, served beside `model`; with `base_urls` its name there.
    The run's own model judges when both are empty."""
    base_urls: tuple[Address, ...] = ()
    """Servers that already run and serve the judge, when it is another model."""
    api_key_env: Variable | None = None
    """The environment variable with their key. When empty they get that of `serving` if they are on the hosts of
    `serving.base_urls`, and none otherwise."""
    principles: Count = 3
    """Principles asked about each pair, each in both orders; those that shaped the pair come first."""
    tags: tuple[str, ...] = ()
    """Only principles with one of these tags judge; all of them when empty."""
    tie_margin: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.05
    """Pairs with |p - 1/2| at or under this are ties: kept as failures, never trained on."""
    combine: Literal["log-odds", "weighted", "vote"] = "log-odds"
    """From principles to one p. `log-odds`: their mean. `weighted`: their mean by the principles' weights, which
    drawing counts already. `vote`: (votes + 1) / (principles + 2), ties counting half. `critic` counts by itself."""
    samples: Count = 1
    """`reasoned`: chains of thought per question, averaged; a single one is greedy, several are drawn at
    temperature 1."""
    clamp: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.4
    """`reasoned`: p is kept between this and one minus this, because a chain of thought makes the judge too sure."""
    score_temperature: Annotated[float, Field(gt=0)] = 1.0
    """`score`: points of difference that make odds of e to 1; `fit_score_temperature` finds it from labelled pairs."""
    max_tokens: Count = 512
    """`reasoned`, `critic`: the longest chain of thought or critique, in tokens. What is cut off is never used."""
    panel: tuple[Member, ...] = ()
    """`panel`: its members, two or more. Pairs on which they split are for people to decide
    (`review.labels`), and not trained on before they have."""
    audit: Path | None = None
    """An audit.json of `charter judge audit`. A run refuses to start if it is about another model, or too low."""
    min_agreement: Share = 0.8
    """What `audit` must show: the lower end of the 95 % interval of the judge's agreement with the labels."""
    max_ties: Share = 0.5
    """The share of pairs on which it may tie there: agreement is of the others alone, so a judge that is rarely sure
    is rarely wrong."""
    calibration: Literal["temperature", "isotonic"] | None = None
    """Mend each label by the curve of this name that `audit` fitted to half of its pairs; as it is when empty."""

    @model_validator(mode="after")
    def _curve_is_known(self) -> "Judge":
        if self.calibration and not self.audit:
            raise ValueError(f"calibration '{self.calibration}' is fitted by an audit; name its audit.json in `audit`")
        return self

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Judge":
        names = [member.name for member in self.panel]
        if (self.kind == "panel") != bool(names) or len(names) == 1 or len(set(names)) < len(names):
            raise ValueError("a panel needs `kind: panel` and two or more members in `panel`, each with its own name")
        reasons = "reasoned" in (self.kind, *(member.kind for member in self.panel))
        if reasons and 0.5 - self.clamp <= self.tie_margin:
            raise ValueError(f"clamp {self.clamp:g} leaves nothing outside tie_margin {self.tie_margin:g}; lower one")
        return self
