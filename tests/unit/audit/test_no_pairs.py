"""An audit whose judge judged no pair says so, with the reason, and writes no figures."""

from pathlib import Path

import pytest

from charter.audit.session import audit_judge
from charter.config import Config
from charter.core.errors import NoDataError
from charter.testing.null_server import NullServer, run_null_server


def test_an_audit_without_judged_pairs_says_why(tmp_path: Path) -> None:
    server = NullServer(refuse=lambda body: "no such thing here" if len(str(body["messages"])) > 300 else None)
    with run_null_server(server):
        config = Config.model_validate(
            {
                "outputs": str(tmp_path),
                "judge": {"base_urls": [server.url]},
                "audit": {"n": 6, "output": str(tmp_path / "audit")},
            }
        )
        with pytest.raises(NoDataError, match=r"judged none of 6 pairs.*bad-request"):
            audit_judge(config, lambda line: None)
    assert not (tmp_path / "audit" / "audit.json").exists()
