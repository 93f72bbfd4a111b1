import sys
from pathlib import Path
from typing import Any

import pytest

from charter.config import Config, load_config
from charter.errors import ConfigError
from charter.inspection import check_runner


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"budget": {"calls": 10}}, r"budget\.calls '10': kept by one process.*leave out `runner: ray`"),
        ({"budget": {"minutes": 1.5}}, r"budget\.minutes '1\.5'"),
        ({"generation": {"templates": "templates"}}, r"generation\.templates 'templates': .*/templates\."),
        ({}, r"runner 'ray': not installed here\. Run `pip install 'charter\[ray\]'`"),
    ],
    ids=["calls", "minutes", "templates", "not installed"],
)
def test_what_ray_cannot_do_is_refused(
    settings: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_ray", None)  # as where it is not installed
    file = tmp_path / "config.yaml"
    file.write_text("runner: ray\n")
    config = load_config(file, settings)
    assert config.runner.address == "auto"
    with pytest.raises(ConfigError, match=says):
        check_runner(config)
    check_runner(Config(**settings))
