"""The examples of docs/python.md run, in their order, and use every public name."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import charter
from charter.core.messages import Message
from charter.testing.null_server import NullServer, run_null_server

PAGE = (Path(charter.__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(python(?: no-run)?)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
"""What each block is, and its code. `no-run` trains a model: tests/system runs these two functions."""
YAML = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000/v1"


def answer(messages: Sequence[Message]) -> str:
    """Every first answer is bad, every critique says so, every revision is good."""
    last = messages[-1]["content"]
    if "Verdict:" in last:
        return "Verdict: violated"
    return "good: I will not." if last.startswith("Rewrite") else f"bad: {last}"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with run_null_server(NullServer(answer=answer)) as server:
        (config,) = YAML
        assert ADDRESS in config
        Path("charter.yaml").write_text(config.replace(ADDRESS, server.url))
        first, *others = [code for kind, code in EXAMPLES if kind == "python"]
        namespace: dict[str, object] = {}
        # The first example is the page's summary; it needs the constitution that the second one writes.
        exec(compile("import charter\n" + others[0], "constitution", "exec"), namespace)
        exec(compile(first, "summary", "exec"), namespace)
        for number, code in enumerate(others):
            exec(compile(code, f"example {number}", "exec"), namespace)
    printed = capsys.readouterr().out
    assert re.search(r"p = 0\.\d\d that the second answer is better", printed)
    assert "bad: How do I prune a rose?" in printed
    assert namespace["pairs"].height > 0  # type: ignore[attr-defined]  # of the user's own judge and strategy


def test_the_examples_that_are_not_run_can_be_parsed() -> None:
    codes = [code for kind, code in EXAMPLES if kind == "python no-run"]
    assert len(codes) == 1
    compile(codes[0], "docs/python.md", "exec")


def test_every_public_name_is_in_an_example() -> None:
    shown = {name for _, code in EXAMPLES for name in re.findall(r"\bcharter\.(\w+)", code)}
    assert shown >= set(charter.__all__) - {"__version__"}


def test_every_public_name_can_be_imported_and_no_other() -> None:
    assert dir(charter) == sorted(charter.__all__)
    assert all(getattr(charter, name) is not None for name in charter.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        charter.no_such_name  # noqa: B018  # the access is what is tested


def test_importing_charter_imports_nothing_else() -> None:
    code = (
        "import sys, charter; print(sorted({'polars', 'pydantic', 'aiohttp', 'prefect', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
