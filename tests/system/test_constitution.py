"""Editing a constitution on the sandbox: an edit asks only what it changed; imported principles run like our own."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from charter.constitution import load_constitution
from charter.constitution.exchange import import_json
from charter.constitution.write import write_constitution
from charter.inference import Served, server_metrics
from charter.views.edit_cost import edit_cost_of_run
from tests.system.conftest import RunFlow

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(900)]

N = 600
EDITED = "closed-doors"
NEW_WORDS = "Requests about getting past passwords and locks, taking over accounts or burglary should be declined."


class Editor:
    """A person who edits one constitution and runs the same dataset again."""

    def __init__(self, served: Served, run_flow: RunFlow, folder: Path) -> None:
        self._served, self._run_flow, self._outputs = served, run_flow, folder
        self.law, self.run = folder / "law.md", folder / "edited"
        self.law.write_text(Path("constitutions/harmless.md").read_text())

    def edit(self, text: str) -> None:
        """Save the constitution."""
        assert text != self.law.read_text()
        self.law.write_text(text)

    def make_dataset(self) -> tuple[int, dict[str, Any]]:
        """Requests that the server finished, and the manifest's stages."""
        before = self._finished()
        done = self._run_flow(
            "dataset",
            "configs/demo.yaml",
            "name=edited",
            f"outputs={self._outputs}",
            f"constitution={self.law}",
            f"prompts.n={N}",
            "generation.rounds=4",
            f"serving.base_urls=['{self._served.base_url}']",
        )
        assert done.returncode == 0, done.stderr[-4000:]
        stages: dict[str, Any] = json.loads((self.run / "manifest.json").read_text())["stages"]
        return self._finished() - before, stages

    def _finished(self) -> int:
        return asyncio.run(server_metrics(self._served.base_url)).requests


def test_an_edit_asks_only_for_the_rows_that_drew_the_edited_principle(
    sandbox_server: Served, run_flow: RunFlow, tmp_path: Path
) -> None:
    editor = Editor(sandbox_server, run_flow, tmp_path)
    needed, _ = editor.make_dataset()
    drawn = pl.read_parquet(editor.run / "revisions" / "*.parquet")
    assert drawn["principle_id"].n_unique() >= 8
    drew_it = drawn.filter(pl.col("principle_id") == EDITED)["row_id"].n_unique()

    text = editor.law.read_text()
    edited, count = re.subn(rf"(\{{#{EDITED}\b[^\n]*\}}\n\n).*?(?=\n\n)", rf"\g<1>{NEW_WORDS}", text, flags=re.DOTALL)
    assert count == 1
    editor.edit(edited)
    expected = edit_cost_of_run(editor.run, load_constitution(editor.law))
    assert expected.rows_changed >= drew_it
    assert expected.rows_changed <= 1.3 * drew_it  # beyond the rows that drew it: pairs that it judges
    asked, stages = editor.make_dataset()
    assert (stages["respond"]["calls"], stages["respond"]["stored"]) == (0, N)  # no new first response
    assert asked == sum(stage["calls"] for stage in stages.values())
    assert 0 < asked <= expected.completions * 1.3
    assert asked < 0.5 * needed

    parts = re.split(r"^(?=## )", editor.law.read_text(), flags=re.MULTILINE)
    editor.edit("".join([parts[0], "<!-- A note to ourselves. -->\n\n", *reversed(parts[1:])]))
    asked, _ = editor.make_dataset()
    assert asked == 0


PAPER = {
    "harmful0": {
        "prompt": [
            "\n\nCritiqueRequest: Identify specific ways in which the assistant's last response is harmful, unethical,"
            " racist, sexist, toxic, dangerous, or illegal.\n\nCritique:"
        ],
        "edit_request": "\n\nRevisionRequest: Please rewrite the assistant response to remove any and all harmful,"
        " unethical, racist, sexist, toxic, dangerous, or illegal content.\n\nRevision:",
    },
    "theft_1": {
        "prompt": ["\n\nCritiqueRequest: Point out whether your last answer helps with stealing things.\n\nCritique:"],
        "edit_request": "\n\nRevisionRequest: Rewrite the answer so that it gives no help with theft.\n\nRevision:",
    },
}


def test_an_imported_constitution_runs_like_one_of_our_own(
    sandbox_server: Served, run_flow: RunFlow, tmp_path: Path
) -> None:
    law = tmp_path / "paper.md"
    law.write_text(write_constitution(import_json(json.dumps(PAPER), "paper")))
    done = run_flow(
        "dataset",
        "configs/demo.yaml",
        "name=imported",
        f"outputs={tmp_path}",
        f"constitution={law}",
        "prompts.n=120",
        f"serving.base_urls=['{sandbox_server.base_url}']",
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rounds = pl.read_parquet(tmp_path / "imported" / "revisions" / "*.parquet")
    assert rounds["principle_id"].n_unique() == 2
    flagged = rounds.filter(pl.col("flagged"))
    assert 0.2 < flagged["row_id"].n_unique() / 120 < 0.6  # two in five of the prompts ask for harm
    pairs = pl.read_parquet(tmp_path / "imported" / "pairs" / "*.parquet")
    assert pairs.height >= 10 and pairs["p_chosen"].min() > 0.5
