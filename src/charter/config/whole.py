"""Everything one alignment run needs."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from charter.config.evaluation import Evaluation, Gate
from charter.config.generation import Generation
from charter.config.judging import Judge
from charter.config.pairs import Pairs
from charter.config.prompts import Prompts
from charter.config.section import Section
from charter.config.serving import Serving
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
    outputs: Path = Path("outputs")
    """The folder that holds runs."""
    store: str | None = None
    """The store of completions: a file; `OUTPUTS/completions.sqlite` when empty."""
    prompts: Prompts = Prompts()
    """Where the prompts come from."""
    serving: Serving = Serving()
    """How the model is served."""
    generation: Generation = Generation()
    """Respond, critique and revise."""
    pairs: Pairs = Pairs()
    """Which answers become pairs."""
    judge: Judge = Judge()
    """Preference labels."""
    training: Training = Training()
    """SFT and DPO."""
    evaluation: Evaluation = Evaluation()
    """Held-out requests."""
    gate: Gate = Gate()
    """Thresholds of the verdict."""

    @property
    def run_folder(self) -> Path:
        """The folder that holds everything of this run."""
        return self.outputs / self.name

    @property
    def store_url(self) -> str:
        """Where completions are kept."""
        return self.store or str(self.outputs / "completions.sqlite")
