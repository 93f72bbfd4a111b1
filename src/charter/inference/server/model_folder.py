"""What is wrong with a model's folder, found before a server reads it.

vLLM and transformers report these faults after seconds to minutes, in messages that do not name the cause.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charter.core.errors import ModelError

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
_NOT_WEIGHTS = re.compile(r"training_args|optimizer|scheduler|rng_state|adapter_model|scaler")
_NUMBERED = re.compile(r"(.+-)(\d+)-of-(\d+)(\.\w+)")
_TOKENIZERS = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "*.tiktoken", "tekken.json", "tokenizer*.py")
_MISTRAL = ("tekken.json", "tokenizer.model.v*")
"""Tokenizers of mistral-common, which have their chat template in code."""
_DOWNLOAD = "Download it again: hf download ORG/NAME --local-dir FOLDER"


def check_model_folder(model: str | Path, folder: Path, vllm_args: Sequence[str] = ()) -> None:
    """Look at the files of a model's folder, without reading the weights.

    Args:
        model: as it is configured, for the message.
        folder: where it is.
        vllm_args: further arguments of vLLM; what they replace (`--tokenizer`, `--chat-template`, `--load-format`) need
            not be in the folder.

    Raises:
        ModelError: one of the files is missing, incomplete or a placeholder, and what to do.
    """
    options = {arg.split("=", 1)[0] for arg in vllm_args}
    if not (folder / "config.json").is_file():
        raise ModelError(f"model '{model}': {_why_no_config(folder)}")
    _check_config(model, folder)
    if "--load-format" not in options:
        _check_weights(model, folder)
    if "--tokenizer" not in options:
        _check_tokenizer(model, folder, needs_template="--chat-template" not in options)


def describe_model_file(file: Path) -> str:
    """What is wrong with a file that is configured as a model, and what to do."""
    if file.suffix.lower() == ".gguf":
        return f"is a GGUF file. {_convert_gguf(file)}"
    return "is a file. Name the folder that holds config.json and the weights."


def _why_no_config(folder: Path) -> str:
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        return _describe_adapter(adapter)
    if ggufs := sorted(folder.glob("*.[gG][gG][uU][fF]")):
        return f"the folder has a GGUF file and no config.json. {_convert_gguf(ggufs[0])}"
    if _is_partial(folder):
        return f"the folder has no config.json: a download did not finish. {_DOWNLOAD}"
    inner = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if inner:
        return f"the folder has no config.json, but '{inner[0]}' in it has. Name {folder / inner[0]}."
    return "the folder has no config.json. Name the folder of a trained model."


def _describe_adapter(adapter: Path) -> str:
    try:
        base = json.loads(adapter.read_bytes()).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        base = None
    return (
        f"holds a LoRA adapter{f' of {base!r}' if base else ''}, without the weights it belongs to. Merge the two with "
        "peft (`AutoPeftModelForCausalLM.from_pretrained(ADAPTER).merge_and_unload().save_pretrained(FOLDER)`), save "
        "the tokenizer beside them, and name FOLDER."
    )


def _convert_gguf(file: Path) -> str:
    return (
        "It cannot be trained. Name the original Hugging Face folder, or convert it with transformers: load model and "
        f"tokenizer by from_pretrained({str(file.parent)!r}, gguf_file={file.name!r}), and save_pretrained both."
    )


def _is_partial(folder: Path) -> bool:
    unfinished = (path for pattern in ("*.incomplete", "*.part", "*.aria2") for path in folder.glob(pattern))
    return any(unfinished) or any((folder / ".cache/huggingface/download").rglob("*.incomplete"))


def _check_config(model: str | Path, folder: Path) -> None:
    config = _read_json(model, folder / "config.json")
    if not config.get("architectures"):
        raise ModelError(
            f"model '{model}': its config.json names no architectures, such as [\"LlamaForCausalLM\"]. Copy "
            "config.json from the original model, or name a folder saved by `save_pretrained`."
        )


def _read_json(model: str | Path, file: Path) -> dict[str, Any]:
    _check_file(model, file)
    try:
        values = json.loads(file.read_bytes())
    except ValueError as error:
        raise ModelError(f"model '{model}': its {file.name} is not JSON ({error}). {_DOWNLOAD}.") from error
    if not isinstance(values, dict):
        raise ModelError(f"model '{model}': its {file.name} is not a JSON object. {_DOWNLOAD}.")
    return values


def _check_file(model: str | Path, file: Path) -> None:
    """Refuse an empty file and a Git LFS pointer."""
    with file.open("rb") as content:
        start = content.read(len(_LFS_POINTER))
    if not start:
        raise ModelError(f"model '{model}': its {file.name} is empty: a download did not finish. {_DOWNLOAD}.")
    if start == _LFS_POINTER:
        raise ModelError(
            f"model '{model}': its {file.name} is a Git LFS pointer, not the file. Run `git lfs install` and "
            f"`git -C {file.parent} lfs pull`."
        )


def _check_weights(model: str | Path, folder: Path) -> None:
    # The indexes first: with one, a missing file is known by name. vLLM and transformers prefer safetensors.
    for kind in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{kind}.index.json"
        if index.is_file():
            named = _read_json(model, index).get("weight_map")
            _check_shards(model, folder, set(named.values()) if isinstance(named, dict) else set())
            break
    files = sorted({file for pattern in _WEIGHTS for file in folder.glob(pattern) if file.is_file()})
    files = [file for file in files if not _NOT_WEIGHTS.match(file.name)]
    if not files:
        if (folder / "adapter_config.json").is_file():
            raise ModelError(f"model '{model}': {_describe_adapter(folder / 'adapter_config.json')}")
        if ggufs := sorted(folder.glob("*.[gG][gG][uU][fF]")):
            raise ModelError(f"model '{model}': its weights are a GGUF file. {_convert_gguf(ggufs[0])}")
        why = ": a download did not finish" if _is_partial(folder) else ""
        raise ModelError(f"model '{model}': the folder has no weights (*.safetensors){why}. {_DOWNLOAD}.")
    for file in files:
        _check_file(model, file)
        if file.suffix == ".safetensors":
            _check_length(model, file)
        if numbered := _NUMBERED.fullmatch(file.name):
            start, _, total, end = numbered.groups()
            shards = {f"{start}{shard:0{len(total)}}-of-{total}{end}" for shard in range(1, int(total) + 1)}
            # Some publishers count from 0.
            if not (folder / f"{start}{0:0{len(total)}}-of-{total}{end}").is_file():
                _check_shards(model, folder, shards)


def _check_shards(model: str | Path, folder: Path, shards: set[str]) -> None:
    missing = sorted(shard for shard in shards if not (folder / shard).is_file())
    if missing:
        raise ModelError(
            f"model '{model}': {len(missing)} of {len(shards)} files of its weights are missing, such as {missing[0]}. "
            f"{_DOWNLOAD}."
        )


def _check_length(model: str | Path, file: Path) -> None:
    """Compare a safetensors file's size with its header: 8 bytes of length, JSON with the offsets of all tensors."""
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        try:
            header = json.loads(content.read(length)) if length <= size else {}
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            ends = [size]  # the header is cut off or no header: the file is too short in either case
    expected = 8 + length + max(ends, default=0)
    if size < expected:
        raise ModelError(
            f"model '{model}': its {file.name} is cut off or no safetensors file ({size:,} bytes). {_DOWNLOAD}."
        )


def _check_tokenizer(model: str | Path, folder: Path, needs_template: bool) -> None:
    files = [file for pattern in _TOKENIZERS for file in folder.glob(pattern) if file.is_file()]
    if not files:
        raise ModelError(
            f"model '{model}': the folder has no tokenizer (tokenizer.json or tokenizer.model). Save it beside the "
            "weights: AutoTokenizer.from_pretrained(BASE).save_pretrained(FOLDER)."
        )
    for file in files:
        _check_file(model, file)
    if not needs_template or any(any(folder.glob(pattern)) for pattern in _MISTRAL):
        return
    templates = [*folder.glob("chat_template.j*"), *folder.glob("additional_chat_templates/*.jinja")]
    settings = folder / "tokenizer_config.json"
    if not templates and not (settings.is_file() and _read_json(model, settings).get("chat_template")):
        raise ModelError(
            f"model '{model}': its tokenizer has no chat template, so it cannot answer a chat. Name the instruct or "
            "chat version of the model, or save its template as chat_template.jinja in the folder."
        )
