"""What made a run is known where it can be, and nothing is said where it cannot."""

import json
import subprocess
from pathlib import Path

from charter.config import Config, load_config, read_override
from charter.core.version import __version__
from charter.pipeline.counts import StageCount
from charter.report.publish import again_command, report_run
from charter.runs.folder import reset_run_folder
from charter.runs.manifest import checkout, machine, write_manifest

LAW = "---\nname: Harmless\nversion: 1.0\n---\n\n## Theft\n\nNo theft.\n"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def made_run(outputs: Path) -> Config:
    """A run's folder with its config and its law, and no more."""
    config = Config(name="demo", outputs=outputs, constitution=Path("constitutions/harmless.md"))
    (reset_run_folder(config) / "constitution.md").write_text(LAW)
    return config


def test_a_checkout_is_told_by_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    assert checkout(tmp_path) == {}
    git(tmp_path, "init", "-q")
    assert checkout(tmp_path) == {}  # no commit yet
    (tmp_path / "a.py").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "law.md").write_text("a user's own")
    assert checkout(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "a.py").write_text("two")
    assert checkout(tmp_path) == {"commit": commit, "dirty": True}


def test_the_machine_is_told_in_words() -> None:
    found = machine()
    assert int(found["cores"]) >= 1
    assert found["gpus"]


def test_manifest_and_report_name_charter_and_the_machine(tmp_path: Path) -> None:
    config = made_run(tmp_path)
    page = report_run(config, {"respond": StageCount("respond", 1, 1, 0)}, {}, "2026-02-03")
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    manifest = json.loads(write_manifest(tmp_path / "demo", [], {}).read_text())
    assert report["versions"]["charter"] == manifest["packages"]["charter"] == __version__
    assert report["versions"]["python"] == manifest["python"]
    assert report["machine"] == manifest["machine"] == machine()
    assert report["checkout"] == manifest["checkout"] == checkout()
    assert f"charter {__version__}" in page.read_text() and "<dt>Machine</dt>" in page.read_text()


def test_the_command_makes_the_run_again_from_its_own_files_and_beside_it(tmp_path: Path) -> None:
    config = made_run(tmp_path)
    python, dash_m, flow, path, *overrides = again_command(config, "align").split()
    assert (python, dash_m, flow) == ("python", "-m", "flows.align")
    again = load_config(Path(path), dict(map(read_override, overrides)))
    law, changed = tmp_path / "demo" / "constitution.md", {"name": "demo-again"}
    assert again == config.model_copy(update={"constitution": law, **changed})
    assert again.run_folder != config.run_folder


def test_what_a_flow_is_given_beside_its_config_is_kept(tmp_path: Path) -> None:
    config, run = made_run(tmp_path), tmp_path / "demo"
    command = again_command(config, "train dataset=outputs/data")
    assert command == f"python -m flows.train {run}/config.yaml name=demo-again dataset=outputs/data"


def test_the_manifest_says_what_the_servers_did_not_support(tmp_path: Path) -> None:
    made_run(tmp_path)
    notes = {"http://host/v1": ["does not accept 'seed'"]}
    manifest = json.loads(write_manifest(tmp_path / "demo", [], {}, notes).read_text())
    assert manifest["servers"] == notes
