"""Folders that look like a model's, with weights of a few bytes."""

import json
from pathlib import Path


def safetensors(content: bytes = bytes(4)) -> bytes:
    """A file with one tensor of these bytes."""
    size = len(content)
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + content


def write_model_folder(folder: Path, weights: bytes = bytes(4)) -> Path:
    """A folder with a config, weights, a tokenizer and a chat template."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (folder / "model.safetensors").write_bytes(safetensors(weights))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder
