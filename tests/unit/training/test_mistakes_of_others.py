"""Mistakes seen in other pipelines that train, each a test by the name of the mistake."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from charter.config import Training
from charter.core.errors import TrainingError
from charter.core.messages import Message, assistant, system, user
from charter.training.job import Job
from charter.training.models import end_tokens, load_tokenizer
from charter.training.rows import encode_rows
from tests.support.tiny_model import CHAT_TEMPLATE, END
from tests.support.training_build import build, build_job, whole_batch
from tests.support.training_data import PAIRS, SFT, pairs, write_sft

DEFAULT = "You are useful."
WITH_DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|system|>" + DEFAULT + "<|end|>' }}{% endif %}" + CHAT_TEMPLATE
)


@pytest.fixture
def padless(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model with a tokenizer that names no padding token, so that its end of a turn has to pad."""
    folder = tmp_path / "padless"
    shutil.copytree(tiny, folder)
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    assert load_tokenizer(str(folder)).pad_token == END
    return folder


def encoded(tokenizer: Any, rows: list[dict[str, Any]]) -> Any:
    table = pa.Table.from_pylist(rows, schema=PAIRS if "chosen" in rows[0] else SFT)
    return encode_rows(table, tokenizer, {tokenizer.eos_token_id}, 200, "tiny")


def test_double_end_of_sequence(tiny: Path) -> None:
    """TRL #4481: the template ends the turn and the trainer ends it again; here a completion has one end or none."""
    tokenizer = load_tokenizer(str(tiny))
    for row in encoded(tokenizer, pairs(6)).kept:
        for ids in (row["chosen_ids"], row["rejected_ids"]):
            assert ids.count(tokenizer.eos_token_id) == 1 and ids[-1] == tokenizer.eos_token_id
    tokenizer.chat_template = CHAT_TEMPLATE.replace("'<|end|>'", "'<|end|><|end|>'")
    with pytest.raises(TrainingError, match="3 several-end-tokens"):
        encoded(tokenizer, pairs(3))


def test_no_end_of_sequence_is_learnt_because_it_is_the_padding_too_in_sft(padless: Path, tmp_path: Path) -> None:
    """TRL #3091: labels were masked wherever the padding token stands, and so was every end."""
    settings = Training.model_validate({"sft": {"batch_size": 8, "max_length": 256}})
    trainer, rows, _ = build_job(
        Job("sft", str(padless), write_sft(tmp_path / "sft.parquet", 8), tmp_path / "sft", settings, 0, "")
    )
    assert len({len(row["input_ids"]) for row in rows.kept}) > 1  # so that some are padded
    batch, end = whole_batch(trainer), load_tokenizer(str(padless)).eos_token_id
    for ids, labels, row in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), rows.kept, strict=True):
        learnt = [token for token in labels if token != -100]
        assert learnt == [token for token in row["labels"] if token != -100]
        assert learnt[-1] == end and learnt.count(end) == 1
        assert ids[len(row["input_ids"]) :] == [end] * (len(ids) - len(row["input_ids"]))  # which pads, and is no label


def test_no_end_of_sequence_is_learnt_because_it_is_the_padding_too_in_dpo(padless: Path, tmp_path: Path) -> None:
    trainer, rows, _ = build(padless, tmp_path, pairs(8), watch="off")
    batch, end = whole_batch(trainer), load_tokenizer(str(padless)).eos_token_id
    answers = [row[name] for name in ("chosen_ids", "rejected_ids") for row in rows.kept]
    assert end_tokens(str(padless), load_tokenizer(str(padless))) == {end}
    for ids, mask, answer in zip(batch["input_ids"].tolist(), batch["completion_mask"].tolist(), answers, strict=True):
        assert [token for token, counts in zip(ids, mask, strict=True) if counts] == answer
        assert answer[-1] == end


@pytest.mark.parametrize(
    ("prompt", "opening"),
    [
        ([user("Why?")], f"<|system|>{DEFAULT}<|end|><|user|>Why?<|end|>"),
        ([system("Be kind."), user("Why?")], "<|system|>Be kind.<|end|><|user|>Why?<|end|>"),
        (
            [user("Why?"), assistant("Say more."), user("Why then?")],
            f"<|system|>{DEFAULT}<|end|><|user|>Why?<|end|><|assistant|>Say more.<|end|><|user|>Why then?<|end|>",
        ),
    ],
    ids=["default", "of one's own", "several turns"],
)
def test_the_default_system_prompt_is_repeated_by_the_chat_template(
    tiny: Path, prompt: list[Message], opening: str
) -> None:
    """TRL #1930 renders prompt and answer apart, and each gets the system prompt; here the conversation is one."""
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = WITH_DEFAULT
    row = {"row_id": "a", "prompt": prompt}
    (pair,) = encoded(tokenizer, [{**row, "chosen": "Because.", "rejected": "No.", "p_chosen": 0.9}]).kept
    assert tokenizer.decode(pair["prompt_ids"]) == f"{opening}<|assistant|>"
    assert [tokenizer.decode(pair[name]) for name in ("chosen_ids", "rejected_ids")] == [
        "Because.<|end|>",
        "No.<|end|>",
    ]
    (taught,) = encoded(tokenizer, [{**row, "completion": "Because."}]).kept
    assert tokenizer.decode(taught["input_ids"]) == f"{opening}<|assistant|>Because.<|end|>"
    assert tokenizer.decode([token for token in taught["labels"] if token != -100]) == "Because.<|end|>"
