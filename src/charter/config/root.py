"""The whole configuration of a run."""

from pathlib import Path
from typing import Any, Self

from pydantic import field_validator, model_validator

from charter.config.addresses import FolderPath, refuse_password
from charter.config.evaluation import Evaluation
from charter.config.gate import Gate
from charter.config.generation import Generation, Pairs, Prompts
from charter.config.judging import Audit, Judge, Review
from charter.config.monitoring import Monitor, RedTeam
from charter.config.section import Identifier, LocalPath, NonNegativeInt, PathOrName, Section
from charter.config.serving import Budget, Runner, Serving
from charter.config.training import Tokens, Training
from charter.core.installation import find_constitution
from charter.core.plugins import name_plugins


class Config(Section):
    """Everything one alignment run needs."""

    name: Identifier = "run"
    """The run's name, and its folder under `outputs`. A command with the same name continues the run."""
    constitution: LocalPath = Path("constitutions/harmless.md")
    """The Markdown file with the principles. The name of a shipped one, such as `harmless.md`, is enough."""
    model: PathOrName = "sandbox"
    """`sandbox`, a model folder, or a hub id."""
    prompts: Prompts = Prompts()
    """Where the prompts come from."""
    generation: Generation = Generation()
    """How the model responds, critiques and revises."""
    judge: Judge = Judge()
    """Who labels the pairs, and how."""
    training: Training = Training()
    """What the models learn, and how."""
    evaluation: Evaluation = Evaluation()
    """What every model is asked after training."""
    gate: Gate = Gate()
    """Thresholds of the verdict."""
    pairs: Pairs = Pairs()
    """Which answers become pairs."""
    serving: Serving = Serving()
    """How the model is served."""
    seed: NonNegativeInt = 0
    """Every random draw is determined by this and the row's id."""
    outputs: FolderPath = Path("outputs")
    """The folder that holds runs. For the flow `dataset` it can also be on S3 or other storage that fsspec supports,
    such as `s3://BUCKET/runs`; what needs a disk is then in `outputs` in the working directory."""
    budget: Budget = Budget()
    """When to stop. Everything finished by then is kept."""
    review: Review = Review()
    """When people are asked; `review: true` is short for `labels: true` in this section."""
    store: PathOrName | None = None
    """The store of completions: a file, `OUTPUTS/completions.sqlite` when empty; or `postgresql://USER@HOST/DATABASE`,
    for several machines. Without the password: export PGPASSWORD, or keep it in ~/.pgpass."""
    runner: Runner = Runner()
    """Where the shards are processed: in this process, or on Ray."""
    tokens: Tokens = Tokens()
    """What training changed, token by token; for the report."""
    audit: Audit = Audit()
    """The audit of the judge on pairs whose better answer is known; not part of a run."""
    redteam: RedTeam = RedTeam()
    """The search for requests on which the model fails; not part of a run."""
    monitor: Monitor = Monitor()
    """The monitoring of a served model; not part of a run."""

    @field_validator("constitution")
    @classmethod
    def _find_constitution(cls, constitution: Path) -> Path:
        return find_constitution(constitution)

    plugins: tuple[str, ...] = ()
    """Modules with judges, strategies, filters or sources that you wrote: names that Python can import, or paths of .py
    files. Installed packages with an entry point `charter.plugins` need no mention here."""

    @field_validator("review", mode="before")
    @classmethod
    def _read_short_review(cls, review: Any) -> Any:
        return {"labels": review} if isinstance(review, bool) else review

    @field_validator("runner", mode="before")
    @classmethod
    def _read_short_runner(cls, runner: Any) -> Any:
        return {"kind": runner} if isinstance(runner, str) else runner

    @field_validator("store")
    @classmethod
    def _refuse_password(cls, store: str | None) -> str | None:
        if store is not None:
            refuse_password(store)
        return store

    @model_validator(mode="after")
    def _name_plugins(self) -> Self:
        name_plugins(self.plugins)
        return self

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        name_plugins(self.plugins)  # a config that Ray sends to another process is unpickled, not validated

    @property
    def run_folder(self) -> Path:
        """The folder that holds everything of this run."""
        return self.outputs / self.name

    @property
    def is_remote(self) -> bool:
        """Whether runs are on remote storage instead of a disk of this machine."""
        return not isinstance(self.outputs, Path)

    @property
    def disk(self) -> Path:
        """The folder for what needs a local disk: `outputs`, or ``outputs`` here when that is remote."""
        return Path("outputs") if self.is_remote else self.outputs

    @property
    def work_folder(self) -> Path:
        """The run's folder on a local disk: its lock, the logs of its servers, and everything that training writes."""
        return self.disk / self.name

    @property
    def audit_folder(self) -> Path:
        """The folder that holds the audit of the judge."""
        return self.audit.output or self.run_folder / "judge-audit"

    @property
    def store_url(self) -> str:
        """Where completions are kept."""
        return self.store or str(self.disk / "completions.sqlite")
