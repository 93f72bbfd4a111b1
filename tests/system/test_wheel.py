"""The wheel alone, in a clean environment and an empty folder: Charter as installed without its checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import polars as pl
import pytest

from charter.testing.null_server import run_null_server

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.system, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has the wheel, and sees this one's other packages instead of downloading them."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True)
    (wheel,) = folder.glob("charter_alignment-*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(command, check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A path listed in a .pth file is searched, but its own .pth files are not: this checkout stays out of reach.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def charter(environment: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    hidden = {"PYTHONPATH", "PREFECT_API_URL", "VIRTUAL_ENV"}
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    variables |= {"PREFECT_HOME": str(folder / ".prefect"), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180"}
    command = [str(environment / "charter"), *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=2000)


def test_the_wheel_is_what_runs(environment: Path, tmp_path: Path) -> None:
    command = [str(environment / "python"), "-c", "import charter, flows; print(charter.__file__, flows.__file__)"]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True).stdout
    assert all(path.startswith(str(environment.parent)) for path in found.split())


def test_doctor_looks_at_the_machine(environment: Path, tmp_path: Path) -> None:
    done = charter(environment, tmp_path, "doctor")
    assert done.returncode in (0, 1) and "Python" in done.stdout, done.stderr  # 1 where memory or disk is short
    assert "Traceback" not in done.stderr and "pip install -e" not in done.stdout


def test_constitutions_and_flows_are_in_the_wheel(environment: Path, tmp_path: Path) -> None:
    assert charter(environment, tmp_path, "init").returncode == 0
    linted = charter(environment, tmp_path, "constitution", "lint", "constitution.md")
    assert (linted.returncode, linted.stdout) == (0, "constitution.md: 0 errors, 0 warnings.\n"), linted.stderr
    with run_null_server() as server:
        few = ["prompts.n=12", "generation.rounds=1", "constitution=harmless.md"]
        done = charter(environment, tmp_path, "dataset", "charter.yaml", f"serving.base_urls=['{server.url}']", *few)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pl.read_parquet(tmp_path / "outputs" / "first" / "responses" / "*.parquet").height == 12


@pytest.mark.slow
def test_a_folder_made_by_init_is_aligned_to_a_verdict(environment: Path, tmp_path: Path) -> None:
    assert charter(environment, tmp_path, "init", "first").returncode == 0
    done = charter(environment, tmp_path / "first", "align", "charter.yaml")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert (tmp_path / "first" / "outputs" / "first" / "gate.json").is_file()
    assert "Report: " in done.stdout
