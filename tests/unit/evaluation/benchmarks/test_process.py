"""A tool's process: what it said is told when it fails, and it ends with whoever waits for it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from charter.evaluation.benchmarks.process import Program, run_tool, tool_failure
from charter.inference.session import Session


def python(folder: Path, code: str) -> Program:
    return Program([sys.executable, "-c", code], dict(os.environ), folder / "tool.log", "task 'one'")


async def test_what_a_tool_said_last_is_told_when_it_left_nothing(tmp_path: Path) -> None:
    tool = python(tmp_path, "import sys; print('first', flush=True); sys.exit('no such data')")
    await run_tool(tool, Session())
    message = str(tool_failure(tool))
    assert message.startswith("task 'one': it produced no results:\n  first\n  no such data\n")
    assert message.endswith(f"The whole output is {tool.log}.")
    assert "it produced no results: out of luck\nThe whole" in str(tool_failure(tool, "out of luck"))


async def test_a_tool_ends_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(60)"
    waiting = asyncio.create_task(run_tool(python(tmp_path, code), Session()))
    while not (pid.is_file() and pid.read_text()):
        await asyncio.sleep(0.02)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
