"""An install hint works today: it names a checkout, or the packages themselves, and never Charter on an index."""

from pathlib import Path

import pytest

from charter.core import installation
from charter.core.installation import install_hint

METADATA = """Metadata-Version: 2.4
Name: charter-alignment
Version: 0.1.0
Requires-Dist: trl==1.16.0
Provides-Extra: eval
Requires-Dist: inspect-ai<0.4,>=0.3.285; extra == "eval"
Requires-Dist: lm-eval[api]<0.5,>=0.4.13; extra == "eval"
Provides-Extra: ray
Requires-Dist: ray>=2.60; extra == "ray"
"""


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charter as if it were installed from a wheel."""
    (tmp_path / "charter_alignment-0.1.0.dist-info").mkdir()
    (tmp_path / "charter_alignment-0.1.0.dist-info" / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(installation, "CHECKOUT", tmp_path)


def test_in_a_checkout_it_names_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[3]
    monkeypatch.chdir(root)
    assert install_hint("eval") == "pip install -e '.[eval]'"
    monkeypatch.chdir(tmp_path)
    assert install_hint("eval") == f"pip install -e '{root}[eval]'"
    assert install_hint(package="trl") == f"pip install -e '{root}'"


@pytest.mark.usefixtures("wheel")
def test_beside_a_wheel_it_names_the_packages() -> None:
    assert install_hint("eval") == "pip install 'inspect-ai<0.4,>=0.3.285' 'lm-eval[api]<0.5,>=0.4.13'"
    assert install_hint(package="trl") == "pip install 'trl==1.16.0'"
