"""Outputs on a real S3 server: the same files as on disk, whole or absent, and no key in any of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charter.config import Config
from charter.config.addresses import folder_path
from charter.core.errors import ConfigError
from charter.data.schema import SCHEMAS
from charter.data.shards import count_rows, read_rows, write_rows
from charter.runs.preflight import check_config
from charter.testing.null_server import NullServer
from flows.align import align
from flows.dataset import dataset
from tests.support.s3_server import BUCKET, SECRET, environment, objects, run_s3

LAW = Path("constitutions/harmless.md").resolve()
N = 40
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    with run_s3() as url:
        yield url


@pytest.fixture
def s3(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's address; its keys are in the environment, and this process works in a folder of its own."""
    for name, value in environment(s3_server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return s3_server


def config(outputs: str, url: str, **changes: Any) -> Config:
    return Config.model_validate(
        {
            "name": "run",
            "constitution": str(LAW),
            "outputs": outputs,
            "prompts": {"n": N},
            "serving": {"base_urls": [url]},
            "generation": {"rounds": 2, "shard_size": 10},
            "judge": {"principles": 1, "tie_margin": 0.0},
            "pairs": {"length_balance": True},
            **changes,
        }
    )


async def test_a_dataset_on_s3_is_the_one_on_disk(
    prefect_server: None, model_server: NullServer, s3: str, tmp_path: Path
) -> None:
    await dataset(config("disk", model_server.url, store="disk.sqlite"))
    made = config(f"s3://{BUCKET}/runs", model_server.url)
    for _ in range(2):  # the second begins the folder anew, and finds all answers in the store
        asked = model_server.counts["requests"]
        await dataset(made)
    assert model_server.counts["requests"] == asked

    found = objects(s3, "runs/run/")
    disk = {str(path.relative_to("disk/run")): path.read_bytes() for path in Path("disk/run").rglob("*.parquet")}
    assert {name: data for name, data in found.items() if name.endswith(".parquet")} == disk
    assert sorted({name.split("/")[0] for name in found} - set(SCHEMAS)) == sorted(
        [
            "DATASET_CARD.md",
            "MODEL_CARD.md",
            "config.yaml",
            "constitution",
            "constitution.json",
            "manifest.json",
            "report.html",
            "report.json",
        ]
    )
    assert SECRET.encode() not in b"".join(found.values())
    assert json.loads(found["manifest.json"])["stages"]["mix"]["rows_in"] > 0

    copy = {str(path.relative_to("outputs/run")): path.read_bytes() for path in Path("outputs/run").rglob("*.*")}
    assert {name: data for name, data in copy.items() if name != ".lock"} == found
    assert Path("outputs/completions.sqlite").is_file()


def test_a_shard_on_s3_is_whole_or_absent(s3: str) -> None:
    shard = folder_path(f"s3://{BUCKET}/shards/failures/00000.parquet")
    rows = [dict.fromkeys(SCHEMAS["failures"].names, "x") | {"principle_ids": []} for _ in range(3)]
    rows = [{name: row[name] for name in SCHEMAS["failures"].names} for row in rows]

    def breaking() -> Iterator[dict[str, Any]]:
        yield from rows
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        write_rows(shard, SCHEMAS["failures"], breaking())
    assert objects(s3, "shards/") == {}
    write_rows(shard, SCHEMAS["failures"], rows)
    before = objects(s3, "shards/")
    with pytest.raises(RuntimeError):
        write_rows(shard, SCHEMAS["failures"], breaking())
    assert objects(s3, "shards/") == before
    assert (list(read_rows(shard.parent)), count_rows(shard)) == (rows, 3)


async def test_what_cannot_work_on_s3_is_refused_at_once(
    prefect_server: None, model_server: NullServer, s3: str
) -> None:
    with pytest.raises(ConfigError, match=r"outputs 's3://none/runs': cannot be written: .*AWS_ACCESS_KEY_ID"):
        check_config(config("s3://none/runs", model_server.url))
    with pytest.raises(ConfigError, match=r"review.labels 'true': .*outputs are at 's3://charter/refused'"):
        check_config(config(f"s3://{BUCKET}/refused", model_server.url, review=True))
    with pytest.raises(ConfigError, match=r"only `charter dataset` .* dataset=outputs/run"):
        await align(config(f"s3://{BUCKET}/refused", model_server.url))
    assert model_server.counts["requests"] == 0
    assert objects(s3, "refused/") == {}
