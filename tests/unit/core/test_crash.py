"""Unexpected errors: one line and a file, and never the exit status of a verdict."""

from pathlib import Path

import pytest

from charter.core.crash import describe_crash
from charter.core.errors import CRASHED


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize("error", [ValueError("two\nlines"), ExceptionGroup("several", [KeyError("name")])])
def test_a_crash_is_one_line_and_a_report_with_the_traceback(error: Exception, tmp_path: Path) -> None:
    message, status = describe_crash(raised(error), tmp_path / "logs")
    (report,) = (tmp_path / "logs").iterdir()
    assert status == CRASHED
    assert str(report) in message and "\n" not in message
    assert "Traceback" in report.read_text() and __file__ in report.read_text()


def test_without_a_folder_to_write_to_the_report_is_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("")
    for logs in (None, tmp_path / "file" / "logs"):
        message, _ = describe_crash(raised(RuntimeError("no")), logs)
        assert Path(message.rpartition(": ")[2]).is_file()


def test_a_file_that_cannot_be_written_is_the_users_to_correct(tmp_path: Path) -> None:
    error = raised(PermissionError(13, "Permission denied", str(tmp_path)))
    message, status = describe_crash(error)
    assert (status, str(tmp_path) in message) == (2, True)
