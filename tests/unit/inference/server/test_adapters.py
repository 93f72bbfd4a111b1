"""Which models share a server, under which identity, and what happens where vLLM takes no adapters; by a stand-in."""

import json
from pathlib import Path

import pytest

from charter.config import Serving
from charter.inference import EngineSpec, Served, model_identity
from charter.inference.server.adapters import AdapterGroup, adapted_identity, find_adapter, group_by_base
from charter.inference.server.fleet import serve_all
from charter.inference.server.launch import Launch, server_environment, vllm_command
from tests.support.model_folders import safetensors, write_model_folder
from tests.support.stand_in import write_stand_in


def trained(folder: Path, base: Path | str, rank: int = 16, weights: bytes = b"a") -> Path:
    """A model with the adapter that its weights were merged from."""
    adapter = write_model_folder(folder, b"merged" + weights) / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "r": rank}))
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    identity = model_identity(base) if Path(base).is_dir() else "hub"
    (adapter / "base.json").write_text(json.dumps({"identity": identity}))
    return folder


def test_adapters_of_one_base_share_a_server_and_what_shares_with_none_is_served_merged(tmp_path: Path) -> None:
    base, other = write_model_folder(tmp_path / "base"), write_model_folder(tmp_path / "other")
    sft, dpo = trained(tmp_path / "sft", base), trained(tmp_path / "dpo", base, 32)
    (shared,) = group_by_base({"sft": sft, "dpo": dpo})
    assert (shared.base, shared.base_name, list(shared.adapters)) == (str(base), "host", ["sft", "dpo"])
    (shared,) = group_by_base({"start": base, "current": dpo})
    assert (shared.base, shared.base_name, list(shared.adapters)) == (str(base), "start", ["current"])
    assert group_by_base({"dpo": dpo}) == [AdapterGroup(str(dpo), {"dpo": None})]
    assert group_by_base({"dpo": dpo, "judge": other}) == [
        AdapterGroup(str(dpo), {"dpo": None}),
        AdapterGroup(str(other), {"judge": None}),
    ]
    assert group_by_base({"one": "org/model", "two": trained(tmp_path / "hub", "org/model")})[0].base == "org/model"


def test_an_adapter_whose_base_is_gone_or_that_is_too_wide_is_left_for_the_merged_weights(tmp_path: Path) -> None:
    base = write_model_folder(tmp_path / "base")
    assert find_adapter(base) is None
    assert find_adapter(trained(tmp_path / "widest", base, 512)) is not None
    assert find_adapter(trained(tmp_path / "wider", base, 513)) is None
    assert find_adapter(trained(tmp_path / "gone", tmp_path / "moved")) is None
    (trained(tmp_path / "half", base) / "adapter" / "adapter_model.safetensors").unlink()
    assert find_adapter(tmp_path / "half") is None


def test_answers_of_an_adapter_are_its_own_and_its_base_s(tmp_path: Path) -> None:
    one, two = trained(tmp_path / "one", "b") / "adapter", trained(tmp_path / "two", "b", weights=b"other") / "adapter"
    found = {adapted_identity(base, adapter) for base in ("sha256:x", "sha256:y") for adapter in (one, two)}
    assert len(found) == 4
    assert found.isdisjoint({"sha256:x", model_identity(one), model_identity(tmp_path / "one")})


def serve(
    folder: Path, takes_adapters: bool, retrained: bool = False, **changes: bool | None
) -> tuple[dict[str, Served], list[str]]:
    base = write_model_folder(folder / "base")
    models = {"sft": trained(folder / "sft", base), "dpo": trained(folder / "dpo", base, 32, b"b")}
    if retrained:
        (base / "model.safetensors").write_bytes(safetensors(b"other"))
    told, settings = list[str](), Serving(python=write_stand_in(folder, takes_adapters), adapters=True)
    settings = settings.model_copy(update=changes)
    with serve_all(models, settings, folder / "logs", told.append) as served:
        return served, told


def test_one_server_is_given_the_adapters_of_several_models(tmp_path: Path) -> None:
    served, _ = serve(tmp_path, takes_adapters=True)
    assert len({one.pid for one in served.values()}) == 1
    assert {name: one.model_name for name, one in served.items()} == {"sft": "sft", "dpo": "dpo"}
    base = model_identity(tmp_path / "base")
    for name, one in served.items():
        assert one.identity == adapted_identity(base, tmp_path / name / "adapter")
        spec = EngineSpec.of(one, "store.sqlite")
        assert (spec.identity, spec.folder_identity) == (one.identity, model_identity(tmp_path / name))


@pytest.mark.parametrize(
    ("takes_adapters", "changes", "said"),
    [
        (False, {}, "vLLM does not load it (404"),
        (True, {"retrained": True}, "has other weights than it was trained from"),
        (True, {"adapters": False}, ""),
        (True, {"adapters": None}, ""),  # without a GPU, where adapters are slow
    ],
    ids=["not-taken", "another-base", "off", "no-gpu"],
)
def test_where_adapters_cannot_be_used_each_model_is_served_merged(
    tmp_path: Path, takes_adapters: bool, changes: dict[str, bool | None], said: str
) -> None:
    served, told = serve(tmp_path, takes_adapters, **changes)
    assert len({one.pid for one in served.values()}) == 2
    assert {name: one.identity for name, one in served.items()} == {
        name: model_identity(tmp_path / name) for name in ("sft", "dpo")
    }
    lines = [line for line in told if "each model is served merged" in line]
    assert [said in line for line in lines] == ([True] if said else [])


def test_vllm_is_told_of_room_for_adapters_only_where_there_are_some() -> None:
    launch = Launch("/models/a", "a", 8123, "python", on_cpu=False, local=True)
    plain, lora = Serving(), Serving(extra_args=("--enable-lora",))
    assert "--enable-lora" in vllm_command(launch, lora) and "--enable-lora" not in vllm_command(launch, plain)
    assert server_environment(launch, lora, 1)["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in server_environment(launch, plain, 1)
