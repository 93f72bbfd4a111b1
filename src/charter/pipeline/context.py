"""What the stages of a run share and is read once: its settings, constitution, folder and models."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from charter.config import Config
from charter.constitution import Constitution
from charter.inference.engine import EngineSpec
from charter.pipeline.judges.calibrated import Judges, configured_judges
from charter.pipeline.strategies import Plan


@dataclass(frozen=True)
class RunContext:
    """One run, or one round of a run. Built once and passed to every stage; stages re-read nothing from disk.

    It can be pickled, so that a shard's stage can run in another process.

    Attributes:
        config: the settings. Constitutions and the audit that `config.judge` names are the copies in the run's folder.
        constitution: the principles.
        folder: where the tables of the run are, one Parquet file per shard.
        models: by role: `base`, for everything that no other model does; `judge`, `responder`, `critic` and `reviser`,
            if these are other models; and `current`, the model of the round before, which answers the prompts in later
            rounds.
    """

    config: Config
    constitution: Constitution
    folder: Path
    models: Mapping[str, EngineSpec]

    def model(self, role: str) -> EngineSpec:
        """The model of a role, or of the first of those that stand in for it; `base` if it has no other."""
        stand_in = {"current": "responder", "reviser": "critic"}.get(role, "base")
        return self.models.get(role) or self.models.get(stand_in) or self.models["base"]

    @property
    def plan(self) -> Plan:
        """Which pair strategies apply to each row."""
        return Plan(self.config.pairs, self.config.training.sft_share, self.config.seed)

    @cached_property
    def judges(self) -> Judges:
        """The configured judge, with and without calibration. Panel members' constitutions are read here, once."""
        return configured_judges(self.config.judge)
