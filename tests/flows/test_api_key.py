"""The servers' API key opens the servers and is written nowhere."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from prefect.blocks.system import Secret
from prefect.settings import get_current_settings

from charter.config import Config
from charter.core.errors import ConfigError, ServingError
from charter.core.messages import Message
from charter.inference.store.entries import unpack
from charter.inference.store.opening import open_database
from charter.testing.null_server import NullServer, run_null_server
from flows.dataset import dataset
from tests.flows.conftest import answer

KEY, WRONG = "sk-charter-0123456789abcdef", "sk-wrong-0123456789abcdef"


def written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file as it is, and what is compressed in it as well."""
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        yield path, path.read_bytes()
        if path.suffix == ".parquet":
            yield path, str(pl.read_parquet(path).to_dicts()).encode()
        if path.suffix == ".sqlite":
            with closing(open_database(str(path))) as store:
                yield path, b"\n".join(unpack(*row) for row in store.rows("SELECT key, value FROM completions"))


def in_prefects_database(key: str) -> bool:
    url = get_current_settings().server.database.connection_url
    assert url is not None
    database = Path(url.get_secret_value().partition("///")[2])
    files = [*database.parent.glob(f"{database.name}*")]  # -wal and -shm beside it
    assert database in files
    return any(key.encode() in file.read_bytes() for file in files)


def in_a_command_line(key: str) -> bool:
    return any(key.encode() in line for line in map(command_line, Path("/proc").glob("[0-9]*")))


def command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return b""


async def test_the_key_comes_out_of_a_block_and_is_written_nowhere(
    prefect_server: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.delenv("MODEL_KEY", raising=False)
    seen = list[bool]()

    def looked_at(messages: Sequence[Message]) -> str:
        if not seen:
            seen.append(in_a_command_line(KEY))
        return answer(messages)

    with run_null_server(NullServer(answer=looked_at, api_key=KEY)) as server:
        serving = {"base_urls": [server.url], "api_key_env": "MODEL_KEY", "api_key_block": "model-key"}
        config = Config.model_validate(
            {
                "outputs": str(tmp_path / "outputs"),
                "prompts": {"n": 8},
                "serving": serving,
                "judge": {"principles": 1, "tie_margin": 0.0},
            }
        )
        with pytest.raises(ConfigError, match=r"serving\.api_key_block 'model-key': no Secret block has this name"):
            await dataset(config)
        await Secret(value=KEY).save("model-key")
        await dataset(config)
    assert "MODEL_KEY" not in os.environ
    assert seen == [False] and not in_prefects_database(KEY)
    assert KEY not in "".join(capfd.readouterr()) + caplog.text
    assert [path for path, content in written(tmp_path) if KEY.encode() in content] == []
    assert {"manifest.json", "completions.sqlite"} <= {path.name for path, _ in written(tmp_path)}


async def test_the_key_is_in_no_file_log_or_error(
    prefect_server: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    with run_null_server(NullServer(answer=answer, api_key=KEY)) as server:
        config = Config.model_validate(
            {
                "outputs": str(tmp_path / "outputs"),
                "prompts": {"n": 8},
                "serving": {"base_urls": [server.url]},
                "judge": {"principles": 1, "tie_margin": 0.0},
            }
        )
        monkeypatch.setenv("CHARTER_API_KEY", WRONG)
        with pytest.raises(ServingError, match=r"\$CHARTER_API_KEY is refused") as caught:
            await dataset(config)
        monkeypatch.setenv("CHARTER_API_KEY", KEY)
        await dataset(config)
        assert server.counts["answered"] > 0
    said = "".join(capfd.readouterr()) + caplog.text + repr(caught.value) + repr(caught.value.__cause__)
    found = [path for path, content in written(tmp_path) if KEY.encode() in content or WRONG.encode() in content]
    assert found == [] and KEY not in said and WRONG not in said
    assert "dataset" in said
    names = {path.name for path, _ in written(tmp_path)}
    assert {"config.yaml", "manifest.json", "completions.sqlite", "00000.parquet"} <= names
