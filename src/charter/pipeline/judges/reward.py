"""A judge as the reward of GRPO: how probable it is that an answer is better than the model's first one.

A judge compares two answers, so what one is worth is said by holding it against another that stays the same: the
first answer to the same prompt, which the run has kept. One half means no better than before. Principles are drawn,
asked and combined as for pairs, so that any kind of judge can reward, and GRPO learns from the very judge that
labels the pairs of DPO.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from charter.config import Judge
from charter.constitution import load_constitution
from charter.constitution.model import content_hash
from charter.core.errors import CompletionFailed, unwrap_single_error
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.judge import principles_for
from charter.pipeline.judges.calibrated import configured_judges, read_curve
from charter.pipeline.judges.engines import open_judges
from charter.pipeline.judges.panel import is_split
from charter.pipeline.judges.protocol import Compare
from charter.pipeline.rows import Row, RowFailed, StageContext

_APART = {"panel", "model", "base_urls", "audit", "min_agreement"}
"""Settings of the judge that an identity holds by their content, or that change no reward."""


@dataclass(frozen=True)
class RewardJudge:
    """A judge that a training process can ask.

    Attributes:
        engine: where it answers, and the store that keeps what it said.
        settings: how it judges.
        constitution: the file with the principles.
        seed: of the run.
        templates: a folder whose templates replace the shipped ones, if any.
        preface: whether the judge is given the constitution's preface.
    """

    engine: EngineSpec
    settings: Judge
    constitution: Path
    seed: int = 0
    templates: Path | None = None
    preface: bool = False

    async def rewards(self, answers: Sequence[Row], session: Session) -> list[float | str]:
        """The reward of each answer, from 0 to 1, or the reason why it has none.

        Args:
            answers: rows of ``rl_prompts``, each with the `answer` it got.
            session: of the training process; it finds out once how many calls the servers can take.

        Raises:
            ServingError: the servers are gone for good.
        """
        constitution, compare = load_constitution(self.constitution), configured_judges(self.settings).label
        async with open_judges(session, self.engine, self.settings) as engines:
            own = (self.seed, self.engine.identity, self.templates, self.preface)
            context = StageContext(engines.ask, constitution, *own, engines.members)
            with unwrap_single_error():
                async with asyncio.TaskGroup() as group:
                    asked = [group.create_task(reward(row, compare, context, self.settings)) for row in answers]
        return [task.result() for task in asked]

    @property
    def identity(self) -> str:
        """The hash of all that a reward depends on; where the judge is served is not of it."""
        laws = [self.constitution, *(member.constitution for member in self.settings.panel if member.constitution)]
        members = [
            (member.kind, bool(member.constitution), *([member.model or member.base_urls] if member.base_urls else []))
            for member in self.settings.panel
        ]
        files = sorted(self.templates.glob("*.md.j2")) if self.templates else []
        return content_hash(
            self.engine.identity,
            self.settings.model_dump(mode="json", exclude=_APART),
            members,
            [load_constitution(path).hash for path in laws],
            [(path.name, path.read_text(encoding="utf-8")) for path in files],
            self.seed,
            self.preface,
            *([curve.to_dict()] if (curve := read_curve(self.settings)) else []),
        )

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``training.yaml``."""
        return {
            **asdict(self),
            "settings": self.settings.model_dump(mode="json"),
            "constitution": str(self.constitution),
            "templates": str(self.templates) if self.templates else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RewardJudge":
        """What `to_dict` gave, also after YAML has made lists of its tuples."""
        engine: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["engine"].items()
        }
        return cls(
            EngineSpec(**engine),
            Judge.model_validate(values["settings"]),
            Path(values["constitution"]),
            values["seed"],
            Path(values["templates"]) if values["templates"] else None,
            values["preface"],
        )


async def reward(row: Row, compare: Compare, context: StageContext, settings: Judge) -> float | str:
    """The reward of `row`'s `answer`, or the reason why there is none.

    Where the judge says nothing that counts, or a panel splits, nothing is known of the answer: that is no low reward.
    """
    if row["answer"] == row["first"]:
        return 0.5  # in both orders, whatever the judge
    principles = principles_for({**row, "strategy": "grpo"}, context, settings)
    try:
        made = await compare(row["prompt"], row["first"], row["answer"], principles, context)
    except (RowFailed, CompletionFailed) as error:
        return error.reason
    return "panel-split" if is_split(made.by_member, settings.tie_margin) else made.p
