"""A labelled run for people to look at: sixty prompts, on the last twenty of which a panel splits."""

import re
from pathlib import Path

from charter.config import Config, Judge, Member, Review, load_config
from charter.core.messages import Messages
from charter.inference.completion import Sampling
from tests.support.scripted_run import make_run

LAW = "---\nname: law\n---\n\n## Be kind {#kind}\n\nAnswers are kind.\n"
SOUTH = "---\nname: south\n---\n\n## Be blunt {#blunt}\n\nAnswers are blunt.\n"
AGREED = 40
PROMPTS = [{"id": f"r{i:02d}", "prompt": f"Question {i:02d}?"} for i in range(60)]


def script(messages: Messages, sampling: Sampling) -> str | float:
    """Answers are bad, revisions safe; South wants the bad ones from the fortieth on. No two are judged alike."""
    asked = messages[-1]["content"]
    if sampling.choices:
        number = int(re.findall(r"Question (\d+)", asked)[0])
        safe = 0.3 if "are blunt" in asked and number >= AGREED else 0.56 + number / 200
        return safe if "<answer_a>\nsafe" in asked else 1 - safe
    if asked.startswith("Critique"):
        return f"Verdict: {'violated' if messages[-2]['content'].startswith('bad') else 'respected'}"
    return "safe" if asked.startswith("Rewrite") else f"bad {asked}"


def make_labelled_run(tmp_path: Path, n: int = 12) -> Config:
    """The config of the run; its labels are to be looked at."""
    (tmp_path / "south.md").write_text(SOUTH)
    members = (Member(name="north"), Member(name="south", constitution=tmp_path / "south.md"))
    judge = Judge(kind="panel", principles=1, panel=members)
    folder = make_run(tmp_path, LAW, PROMPTS, script, judge=judge, shard_size=25)
    return load_config(folder / "config.yaml").model_copy(update={"review": Review(labels=True, n=n)})
