"""Files that appear complete and durable or not at all."""

import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from charter.core.errors import ConfigError, DataError
from charter.core.files import (
    atomic_folder,
    atomic_path,
    disk_full_as_data_error,
    file_lock,
    read_json,
    write_json,
    write_text_atomic,
)


@pytest.fixture
def disk_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is synced and renamed, in order: the call and the name of its file or folder."""
    calls, fsync, replace = list[tuple[str, str]](), os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        fsync(descriptor)
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))

    def recorded_replace(old: Path, new: Path) -> None:
        replace(old, new)
        calls.append(("replace", new.name))

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    return calls


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, disk_calls: list[tuple[str, str]]) -> None:
    path = write_json(tmp_path / "new" / "manifest.json", {"run": "ä"})
    unfinished = f".manifest.json.{os.getpid()}.unfinished"
    assert disk_calls == [("fsync", unfinished), ("replace", "manifest.json"), ("fsync", "new")]
    assert path.read_text() == '{\n "run": "ä"\n}\n' and read_json(path) == {"run": "ä"}


def test_a_folder_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, disk_calls: list[tuple[str, str]]) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("1")
    assert disk_calls == [("fsync", "weights"), ("fsync", folder.name), ("replace", "model"), ("fsync", tmp_path.name)]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_text_atomic(tmp_path / "a.txt", "old")
    with pytest.raises(KeyError), atomic_path(path) as unfinished:
        unfinished.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("1")
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_not_replaced(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "model" / "weights", "old")
    with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_a_lock_keeps_another_process_out_until_it_is_released(tmp_path: Path) -> None:
    path, spawn = tmp_path / "new" / ".lock", multiprocessing.get_context("spawn")
    with file_lock(path), spawn.Pool(1) as pool:
        assert pool.apply(_is_busy, (path,))
    with file_lock(path, ConfigError("busy")):
        pass


def _is_busy(path: Path) -> bool:
    try:
        with file_lock(path, ConfigError("busy")):
            return False
    except ConfigError:
        return True


def test_the_error_of_a_lock_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=str(tmp_path)), file_lock(tmp_path):
        pass


def test_a_full_disk_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"'a\.txt'.*Free some space"), disk_full_as_data_error():
        raise OSError(errno.ENOSPC, "No space left on device", "a.txt")
    with pytest.raises(PermissionError), disk_full_as_data_error():
        raise PermissionError(errno.EACCES, "Permission denied", "a.txt")
