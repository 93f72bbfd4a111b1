"""Registries: registering by decorator, finding what an entry point names, and saying what is known."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import charter
from charter.core.errors import ConfigError
from charter.core.plugins import SHIPPED_MODELS, Registry

SOURCE = Path(charter.__file__).parent


def test_an_entry_is_found_by_its_name_and_replaced_by_the_same_name() -> None:
    registry: Registry[Callable[[], int]] = Registry("number", "numbers.kind")

    @registry.register("one")
    def one() -> int:
        return 1

    assert registry["one"] is one and "one" in registry and registry.names() == ("one",)
    registry.add("one", lambda: 2)
    assert registry["one"]() == 2
    assert registry.get("two") is None and "two" not in registry


def test_an_unknown_name_is_an_error_with_the_known_ones_and_the_nearest() -> None:
    registry: Registry[int] = Registry("number", "numbers.kind")
    registry.add("one", 1)
    registry.add("three", 3)
    with pytest.raises(ConfigError, match=r"numbers.kind 'thre': no such number. Did you mean 'three'\? .*one, three"):
        registry["thre"]
    with pytest.raises(ConfigError, match=r"no such number. Registered: one, three"):
        registry["42"]


def test_the_sandbox_registers_itself_by_an_entry_point_and_reads_no_tables_then() -> None:
    code = """
import sys
from charter.core.plugins import SHIPPED_MODELS
assert not [name for name in sys.modules if name.startswith("charter.sandbox")]
assert (SHIPPED_MODELS["sandbox"] / "config.json").is_file()
from charter.sandbox import world
assert world.world.cache_info().misses == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "sandbox" in SHIPPED_MODELS


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[charter.plugins]\nbroken = no_such_module\n")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from charter.core.errors import ConfigError
from charter.core.plugins import SHIPPED_MODELS
for _ in range(2):
    try:
        SHIPPED_MODELS["mine"]
    except ConfigError as error:
        assert "plugin 'no_such_module' of broken: cannot be imported" in str(error), error
    else:
        raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_the_product_does_not_import_the_sandbox() -> None:
    modules = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != "sandbox"]
    importing = [
        path for path in modules if re.search(r"import.*charter\.sandbox|from charter\.sandbox", path.read_text())
    ]
    assert importing == [SOURCE / "cli" / "sandbox.py"]
