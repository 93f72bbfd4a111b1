"""The servers' API key opens the servers and is written nowhere."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from charter.config import Config
from charter.errors import ServingError
from charter.store.database import open_database
from charter.store.packing import unpack
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
