from pathlib import Path

import pytest

from charter.config import Config, Generation, Judge, Selection
from charter.errors import ConfigError
from charter.run import check


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generation": Generation(selection=Selection(tags=("sour",)))}, r"tags \['sour'\]: no principle of 'law'"),
        ({"judge": Judge(tags=("sour",))}, r"tags \['sour'\]: no principle of 'law'"),
        ({"generation": Generation(selection=Selection(how="one-per-tag"))}, "no principle of 'law' has a tag"),
        ({"generation": Generation(preface=True)}, r"generation\.preface 'true': .*law\.md' has no preface"),
    ],
    ids=["tags", "judge's tags", "one per tag", "preface"],
)
def test_settings_that_the_constitution_cannot_serve_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    law = tmp_path / "law.md"
    law.write_text("---\nname: law\n---\n## Privacy\nKeep secrets.\n")
    with pytest.raises(ConfigError, match=message):
        check(Config(constitution=law, **settings))
