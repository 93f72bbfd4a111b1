"""Everything one alignment run needs."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from charter.config.audit import Audit
from charter.config.budget import Budget
from charter.config.evaluation import Evaluation, Gate
from charter.config.generation import Generation
from charter.config.judging import Judge
from charter.config.monitoring import Monitor
from charter.config.pairs import Pairs
from charter.config.places import Place
from charter.config.prompts import Prompts
from charter.config.redteam import RedTeam
from charter.config.review import Review
from charter.config.running import Runner
from charter.config.section import Section
from charter.config.serving import Serving
from charter.config.store_address import refuse_password
from charter.config.tokens import Tokens
from charter.config.training import Training


class Config(Section):
    """Everything one alignment run needs."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = "run"
    """The run's name, and its folder under `outputs`. The same name again continues the run."""
    constitution: Path = Path("constitutions/harmless.md")
    """The Markdown file with the principles."""
    model: str = "sandbox"
    """`sandbox`, a model folder, or a hub id."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Every random draw follows from this and the row's id."""
    outputs: Place = Path("outputs")
    """The folder that holds runs. Of the flow `dataset` also one on S3 or whatever fsspec reaches, such as
    `s3://BUCKET/runs`; what needs a disk then lies in `outputs` here."""
    store: str | None = None
    """The store of completions: a file, `OUTPUTS/completions.sqlite` when empty; or `postgresql://USER@HOST/DATABASE`,
    for several machines. Without the password: export PGPASSWORD, or keep it in ~/.pgpass."""
    prompts: Prompts = Prompts()
    """Where the prompts come from."""
    serving: Serving = Serving()
    """How the model is served."""
    generation: Generation = Generation()
    """Respond, critique and revise."""
    runner: Runner = Runner()
    """Where the shards are worked on: in this process, or on Ray."""
    budget: Budget = Budget()
    """When to stop, with all that is done kept."""
    pairs: Pairs = Pairs()
    """Which answers become pairs."""
    judge: Judge = Judge()
    """Preference labels."""
    review: Review = Review()
    """When people are asked; `review: true` is short for `labels: true` in it."""
    audit: Audit = Audit()
    """The audit of the judge, on pairs whose better answer is known; a run does without."""
    training: Training = Training()
    """What the models learn, and how."""
    tokens: Tokens = Tokens()
    """What training changed, token by token; for the report."""
    evaluation: Evaluation = Evaluation()
    """Held-out requests."""
    gate: Gate = Gate()
    """Thresholds of the verdict."""
    redteam: RedTeam = RedTeam()
    """The search for requests on which the model fails; a run does without."""
    monitor: Monitor = Monitor()
    """The watch over a served model; a run does without."""

    @field_validator("review", mode="before")
    @classmethod
    def _in_short(cls, review: Any) -> Any:
        return {"labels": review} if isinstance(review, bool) else review

    @field_validator("runner", mode="before")
    @classmethod
    def _runner_in_short(cls, runner: Any) -> Any:
        return {"kind": runner} if isinstance(runner, str) else runner

    @field_validator("store")
    @classmethod
    def _without_password(cls, store: str | None) -> str | None:
        if store is not None:
            refuse_password(store)  # its own error: pydantic's would repeat the value
        return store

    @property
    def run_folder(self) -> Path:
        """The folder that holds everything of this run."""
        return self.outputs / self.name

    @property
    def is_remote(self) -> bool:
        """Whether runs are on no disk of this machine."""
        return not isinstance(self.outputs, Path)

    @property
    def disk(self) -> Path:
        """Where what needs a disk of this machine lies: `outputs`, or a folder of that name here."""
        return Path("outputs") if self.is_remote else self.outputs

    @property
    def work_folder(self) -> Path:
        """The run's folder on this machine's disk: its lock, the logs of its servers, and whatever trains."""
        return self.disk / self.name

    @property
    def audit_folder(self) -> Path:
        """The folder that holds the audit of the judge."""
        return self.audit.output or self.run_folder / "judge-audit"

    @property
    def store_url(self) -> str:
        """Where completions are kept."""
        return self.store or str(self.disk / "completions.sqlite")
