"""Which variables reach a child process: what it needs, and no key that it was not given."""

import pytest

from charter.core.environment import PASS_ENV, child_environment

KEYS = (
    "OPENAI_API_KEY",
    "CHARTER_API_KEY",
    "VLLM_API_KEY",
    "PGPASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "WANDB_API_KEY",
    "HF_TOKEN",
)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "sk-secret")


def test_no_key_is_passed_that_was_not_named() -> None:
    assert "sk-secret" not in child_environment().values()


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR", "LANG", "LC_ALL", "XDG_CACHE_HOME", "https_proxy"),
        *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "VLLM_LOGGING_LEVEL", "OMP_NUM_THREADS", "NCCL_DEBUG"),
        *("HF_HOME", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM", "SSL_CERT_FILE"),
    ],
)
def test_what_programs_need_is_passed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "value")
    assert child_environment()[name] == "value"


def test_the_hub_s_token_is_passed_where_models_come_from_the_hub() -> None:
    assert child_environment(hub=True)["HF_TOKEN"] == "sk-secret"
    assert {name for name in KEYS if name in child_environment(hub=True)} == {"HF_TOKEN"}


def test_further_variables_are_named_by_the_caller_or_by_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name for name in KEYS if name in child_environment(extra=["WANDB_*"])} == {"WANDB_API_KEY"}
    monkeypatch.setenv(PASS_ENV, "OPENAI_API_KEY, AWS_*")
    assert {name for name in KEYS if name in child_environment()} == {"OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"}
