from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charter.core.errors import DataError, TrainingError
from charter.training.models import load_tokenizer
from charter.training.rows import encode_rows, read_training_table
from tests.support.tiny_model import END
from tests.support.training_data import PAIRS, RL_PROMPTS, SFT, pairs, write_pairs, write_sft


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    return load_tokenizer(str(tiny))


def encode(tokenizer: Any, rows: list[dict[str, Any]], max_length: int = 200) -> Any:
    schema = PAIRS if "chosen" in rows[0] else SFT
    table = pa.Table.from_pylist(rows, schema=schema)
    return encode_rows(table, tokenizer, {tokenizer.eos_token_id}, max_length, "tiny")


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_pair_is_the_conversation_as_the_model_meets_it(tokenizer: Any) -> None:
    row = {"row_id": "a", "prompt": ask("Why?"), "chosen": "Because.", "rejected": "No.", "p_chosen": 0.9}
    (kept,) = encode(tokenizer, [row]).kept
    assert tokenizer.decode(kept["prompt_ids"]) == "<|user|>Why?<|end|><|assistant|>"
    assert tokenizer.decode(kept["chosen_ids"]) == "Because.<|end|>"
    assert tokenizer.decode(kept["rejected_ids"]) == "No.<|end|>"
    assert kept["p_chosen"] == 0.9


def test_only_the_completion_is_learnt(tokenizer: Any) -> None:
    prompt = [{"role": "system", "content": "Be kind."}, *ask("Why?")]
    (kept,) = encode(tokenizer, [{"row_id": "a", "prompt": prompt, "completion": "Because."}]).kept
    assert (
        tokenizer.decode(kept["input_ids"])
        == "<|system|>Be kind.<|end|><|user|>Why?<|end|><|assistant|>Because.<|end|>"
    )
    learnt = [token for token in kept["labels"] if token != -100]
    assert tokenizer.decode(learnt) == "Because.<|end|>"
    assert kept["labels"][-len(learnt) :] == learnt
    assert len(kept["labels"]) == len(kept["input_ids"])


def test_a_prompt_of_grpo_ends_where_the_answer_begins(tokenizer: Any) -> None:
    rows = [
        {"row_id": "a", "prompt": ask("Why?"), "first": "Because.", "drawn": ["one"]},
        {"row_id": "b", "prompt": ask("word " * 300), "first": "No.", "drawn": []},
        {"row_id": "c", "prompt": ask("Why?<|assistant|>"), "first": "No.", "drawn": []},
    ]
    table = pa.Table.from_pylist(rows, schema=RL_PROMPTS)
    made = encode_rows(table, tokenizer, {tokenizer.eos_token_id}, 200, "tiny")
    (kept,) = made.kept
    assert tokenizer.decode(kept["prompt_ids"]) == "<|user|>Why?<|end|><|assistant|>"
    assert (kept["first"], kept["drawn"]) == ("Because.", ["one"])
    assert [(row.row_id, row.reason) for row in made.dropped] == [("b", "too-long"), ("c", "special-token-in-text")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"chosen": "word " * 300}, "too-long"),
        ({"rejected": "word " * 300}, "too-long"),
        ({"prompt": ask("word " * 300)}, "too-long"),
        ({"chosen": "same", "rejected": "same"}, "identical"),
        ({"chosen": " "}, "empty"),
        ({"prompt": []}, "empty"),
        ({"p_chosen": 0.5}, "no-preference"),
        ({"p_chosen": 0.3}, "no-preference"),
        ({"p_chosen": None}, "no-preference"),
        ({"p_chosen": float("nan")}, "no-preference"),
        ({"chosen": f"Yes.{END}<|user|>Thanks"}, "special-token-in-text"),
        ({"prompt": ask("<|assistant|>Sure")}, "special-token-in-text"),
    ],
)
def test_what_cannot_be_trained_on_is_left_out_with_its_reason(
    tokenizer: Any, changes: dict[str, Any], reason: str
) -> None:
    rows: list[dict[str, Any]] = pairs(3)
    rows[1] = rows[1] | changes
    encoded = encode(tokenizer, rows)
    assert [(row.row_id, row.reason) for row in encoded.dropped] == [("p1", reason)]
    assert encoded.reasons == {reason: 1}
    assert len(encoded.kept) == 2


def test_what_a_template_writes_after_the_end_is_not_learnt(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|end|>'", "'<|end|>\n'")
    (kept,) = encode(tokenizer, [{"row_id": "a", "prompt": ask("Why?"), "completion": "Because."}]).kept
    assert tokenizer.decode(kept["input_ids"]) == "<|user|>Why?<|end|>\n<|assistant|>Because.<|end|>"


GEMMA = """{% for m in messages %}
{%- if m.role == "system" %}{{ raise_exception("System role not supported") }}{% endif %}
{%- if (m.role == "user") != (loop.index0 % 2 == 0) %}{{ raise_exception("roles must alternate") }}{% endif %}
{{- "<|" + m.role + "|>" + m.content + "<|end|>" }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""


def test_a_template_without_a_system_role_gets_its_text_in_the_first_user_turn(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = GEMMA
    told = [{"role": "system", "content": "Be kind."}, *ask("Hi?")]
    twice = [*ask("Hi?"), *ask("Hello?")]
    rows = encode(
        tokenizer, [{"row_id": str(n), "prompt": p, "completion": "Yes."} for n, p in enumerate((told, twice))]
    )
    ((kept,), (dropped,)) = rows.kept, rows.dropped
    assert tokenizer.decode(kept["input_ids"]) == "<|user|>Be kind.\n\nHi?<|end|><|assistant|>Yes.<|end|>"
    assert dropped.reason == "template"


def test_a_template_that_never_ends_a_turn_is_refused(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|end|>'", "'\n'")
    with pytest.raises(TrainingError, match=r"3 no-end-token.*must end the assistant's turn"):
        encode(tokenizer, pairs(3))


def test_no_row_left_names_the_reason_and_the_way_out(tokenizer: Any) -> None:
    with pytest.raises(TrainingError, match=r"no row of 4 can be trained on \(4 too-long\). Raise max_length, now 5"):
        encode(tokenizer, pairs(4), max_length=5)


def test_a_model_without_a_chat_template_is_refused(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = None
    with pytest.raises(TrainingError, match="has no chat template"):
        encode(tokenizer, pairs(3))


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    whole = pq.read_table(write_sft(tmp_path / "all.parquet", 10))
    shards = tmp_path / "shards"
    shards.mkdir()
    for name, start in (("b", 4), ("a", 0), ("c", 8)):
        pq.write_table(whole.slice(start, 4), shards / f"{name}.parquet")
    assert read_training_table(shards, "sft", False) == read_training_table(tmp_path / "all.parquet", "sft", False)


def test_missing_data_missing_columns_and_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_training_table(tmp_path / "none.parquet", "sft", False)
    with pytest.raises(DataError, match=r"a folder without \*.parquet"):
        read_training_table(tmp_path, "sft", False)
    sft = write_sft(tmp_path / "sft.parquet")
    with pytest.raises(DataError, match=r"lacks the column\(s\) chosen, rejected, p_chosen"):
        read_training_table(sft, "dpo", True)
    labelled = pq.read_table(write_pairs(tmp_path / "pairs.parquet"))
    pq.write_table(labelled.drop_columns("p_chosen"), tmp_path / "hard.parquet")
    assert read_training_table(tmp_path / "hard.parquet", "dpo", False).num_rows == 24
    with pytest.raises(DataError, match="soft_labels: false"):
        read_training_table(tmp_path / "hard.parquet", "dpo", True)
    pq.write_table(labelled.slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="has no rows"):
        read_training_table(tmp_path / "empty.parquet", "dpo", True)
