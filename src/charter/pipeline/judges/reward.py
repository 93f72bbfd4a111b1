"""A judge as the reward of GRPO: how probable it is that an answer is better than the model's first one.

A judge compares two answers. So the value of one is its comparison with a fixed other: the first answer to the same
prompt, which the run has kept. One half means no better than before. Principles are drawn and combined as for pairs, so
that any kind of judge can reward, and GRPO learns from the same judge that labels the pairs of DPO.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from charter.pipeline.judges.panel import is_panel_split
from charter.pipeline.judges.protocol import Compare
from charter.pipeline.rows import Row, RowFailed, StageContext

_NOT_IN_IDENTITY = {"panel", "model", "base_urls", "audit", "min_agreement"}
"""Settings of the judge that change no reward, or whose content is in the identity instead."""


@dataclass(frozen=True)
class RewardJudge:
    """A judge that a training process can ask.

    Attributes:
        engine: where it answers, and the store that keeps its answers.
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
            session: of the training process, for all steps: the limiter measures only once what the servers can take.

        Raises:
            ServingError: the servers are gone for good.
        """
        constitution, compare = load_constitution(self.constitution), configured_judges(self.settings).label
        async with open_judges(session, self.engine, self.settings) as engines:
            rest = self.seed, self.engine.identity, self.templates, self.preface, engines.members
            context = StageContext(engines.ask, constitution, *rest)
            with unwrap_single_error():
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(reward(row, compare, context, self.settings)) for row in answers]
        return [task.result() for task in tasks]

    @property
    def identity(self) -> str:
        """The hash of all that a reward depends on, which the judge's address is not."""
        constitutions = [self.constitution, *(m.constitution for m in self.settings.panel if m.constitution)]
        members = [
            (member.kind, bool(member.constitution), *([member.model or member.base_urls] if member.base_urls else []))
            for member in self.settings.panel
        ]
        files = sorted(self.templates.glob("*.md.j2")) if self.templates else []
        return content_hash(
            self.engine.identity,
            self.settings.model_dump(mode="json", exclude=_NOT_IN_IDENTITY),
            members,
            [load_constitution(path).hash for path in constitutions],
            [(path.name, path.read_text(encoding="utf-8")) for path in files],
            self.seed,
            self.preface,
            *([curve.to_dict()] if (curve := read_curve(self.settings)) else []),
        )

    def to_dict(self) -> dict[str, Any]:
        """As ``training.yaml`` holds it."""
        return {
            **asdict(self),
            # Learned again: the process that trains asks the same servers.
            "engine": asdict(replace(self.engine, dialects=())),
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
    """The reward of `row`'s `answer`, or the reason why it has none.

    If the judge gives no verdict, or a panel splits, nothing is known of the answer: a low reward would be wrong.
    """
    if row["answer"] == row["first"]:
        return 0.5  # every judge, asked in both orders, is even about two equal answers
    principles = principles_for({**row, "strategy": "grpo"}, context, settings)
    try:
        judgement = await compare(row["prompt"], row["first"], row["answer"], principles, context)
    except (RowFailed, CompletionFailed) as error:
        return error.reason
    return "panel-split" if is_panel_split(judgement.by_member, settings.tie_margin) else judgement.p
