"""A password is refused where it would be written down, and repeated nowhere."""

from pathlib import Path

import pytest

from charter.config import Config, load_config
from charter.config.addresses import display_address, refuse_password
from charter.core.errors import StoreError
from charter.inference.store import open_store

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@host:5432/db",
        f"postgres://:{SECRET}@host/db",
        f"postgresql://me:{SECRET}/?#@host/db",
        f"postgresql://host/db?password={SECRET}",
        f"postgresql://me@host/db?sslmode=require&sslpassword={SECRET}",
    ],
)
def test_a_password_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"store: '{url}'\n")
    for attempt in (
        lambda: open_store(url),
        lambda: Config(store=url),
        lambda: load_config(config),
        lambda: load_config(None, {"store": url}),
    ):
        with pytest.raises(StoreError, match="export PGPASSWORD") as caught:
            attempt()
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://me@host:5432/db", "a/b.sqlite", "sqlite://C:/x@y.sqlite", "odd:@name"])
def test_other_addresses_pass(url: str) -> None:
    refuse_password(url)
    assert Config(store=url).store_url == url


def test_an_address_is_shown_without_user_and_options() -> None:
    assert display_address("postgresql://me@host:5432/db?sslmode=require") == "postgresql://host:5432/db"
    assert display_address("outputs/completions.sqlite") == "outputs/completions.sqlite"
