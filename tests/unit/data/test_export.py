"""A run through the real stages, exported, and read back by the libraries that people will use."""

import json
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charter.core.errors import ConfigError, CountMismatch, DataError
from charter.core.messages import Messages, assistant
from charter.data.conversations import in_test, normalized_text
from charter.data.export import FORMATS, ExportedTable, check_apart, export_run
from charter.data.layouts import PREFERENCE
from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.data.writers import write_parquet
from charter.inference.completion import Sampling
from charter.sandbox import MODEL
from charter.training.models import end_tokens, load_tokenizer
from charter.training.rows import encode_rows
from tests.support.scripted_run import make_run
from tests.support.tiny_model import make_tiny_model

LAW = "---\nname: Manners\n---\n\n## Kind {#kind}\n\nAnswers are kind.\n\n## True {#true}\n\nAnswers are true.\n"
SHARE = 0.2
MESSAGES = list[dict[str, str]]


def prompts(n: int) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "prompt": f"How do I do thing {i}?", "kind": "talk" if i % 3 else None} for i in range(n)]


def answer(messages: Messages, sampling: Sampling) -> str | float:
    """Every fifth answer is fine; the others are rude, are made kind, and judged kinder with 0.6 to 0.9."""
    asked = messages[-1]["content"]
    if sampling.choices:
        p = 0.6 + 0.1 * (int(asked.split("about thing ")[1].split()[0]) % 4)
        return p if "<answer_a>\nKind" in asked else 1 - p
    if asked.startswith("Critique"):
        return f"Verdict: {'violated' if messages[-2]['content'].startswith('Rude') else 'respected'}"
    if asked.startswith("Rewrite"):
        return messages[-4]["content"].replace("Rude", "Kind")
    number = int(asked.split()[-1][:-1])
    return f"{'Rude' if number % 5 else 'Fine'} words, “so to speak”, about thing {number} \u2028 of many."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 120 prompts in three shards, to read only."""
    return make_run(tmp_path_factory.mktemp("outputs"), LAW, prompts(120), answer)


def export(run: Path, folder: Path, format: str, **settings: float) -> tuple[ExportedTable, ...]:
    return export_run(run, folder, format, lambda tables: "the card", **{"test_share": SHARE, **settings})


def load(folder: Path, table: ExportedTable) -> dict[str, datasets.Dataset]:
    """As the card says, but with a cache of the test's own."""
    if table.reader == "disk":
        return dict(datasets.load_from_disk(str(folder / table.name)))
    files = {side: str(folder / path) for side, path in table.files.items()}
    return dict(datasets.load_dataset(table.reader, data_files=files, cache_dir=str(folder.parent / "cache")))


def rows_of(loaded: dict[str, datasets.Dataset]) -> dict[str, list[dict[str, Any]]]:
    return {side: list(dataset) for side, dataset in loaded.items()}


@pytest.mark.parametrize("format", ["trl", "jsonl", "datasets"])
def test_pairs_come_back_in_the_conversational_form_with_all_their_columns(
    run: Path, tmp_path: Path, format: str
) -> None:
    preference, _ = export(run, tmp_path / "out", format)
    loaded = rows_of(load(tmp_path / "out", preference))
    assert set(loaded) == {"train", "test"}
    assert {side: len(rows) for side, rows in loaded.items()} == preference.rows
    found = {row["row_id"]: row for rows in loaded.values() for row in rows}
    source = {row["row_id"]: row for row in read_rows(run / "pairs")}
    assert found.keys() == source.keys() and len(source) > 30
    for row_id, row in source.items():
        answers = {name: [assistant(row[name])] for name in ("chosen", "rejected")}
        assert found[row_id] == row | answers


@pytest.mark.parametrize("format", ["trl", "kto", "jsonl", "datasets"])
def test_supervised_rows_come_back_as_prompt_and_completion(run: Path, tmp_path: Path, format: str) -> None:
    _, sft = export(run, tmp_path / "out", format)
    loaded = rows_of(load(tmp_path / "out", sft))
    found = {row["row_id"]: row for rows in loaded.values() for row in rows}
    source = {row["row_id"]: row for row in read_rows(run / "sft_data")}
    assert any(row["p_chosen"] is None for row in source.values())
    assert found == {id: row | {"completion": [assistant(row["completion"])]} for id, row in source.items()}


def test_unpaired_rows_are_those_that_trl_itself_makes_of_the_pairs(run: Path, tmp_path: Path) -> None:
    from trl.data_utils import unpair_preference_dataset

    unpaired, _ = export(run, tmp_path / "kto", "kto")
    preference, _ = export(run, tmp_path / "trl", "trl")
    ours, pairs = load(tmp_path / "kto", unpaired), load(tmp_path / "trl", preference)
    for side, dataset in pairs.items():
        theirs = unpair_preference_dataset(dataset)
        wanted = sorted((r["row_id"], r["label"], json.dumps(r["prompt"] + r["completion"])) for r in theirs)
        assert wanted == sorted(
            (r["row_id"], r["label"], json.dumps(r["prompt"] + r["completion"])) for r in ours[side]
        )
        assert all(row["weight"] == pytest.approx(2 * row["p_chosen"] - 1) for row in ours[side])
    assert unpaired.rows == {side: 2 * n for side, n in preference.rows.items()}


def verdict_of(row: dict[str, Any]) -> tuple[str, bool, str]:
    return row["row_id"], row["label"], json.dumps(row["prompt"] + row["completion"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(str(MODEL))


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_trl_takes_every_table_as_it_is(run: Path, tmp_path: Path, tokenizer: Any, format: str) -> None:
    from trl.data_utils import is_conversational, maybe_apply_chat_template

    for table in export(run, tmp_path / "out", format):
        for dataset in load(tmp_path / "out", table).values():
            row = dataset[0]
            assert is_conversational(row)
            text = maybe_apply_chat_template(row, tokenizer)
            for name in {"chosen", "rejected", "completion"} & set(row):
                whole = tokenizer.apply_chat_template(row["prompt"] + row[name], tokenize=False)
                assert text["prompt"] + text[name] == whole and row[name][0]["content"] in text[name]
            assert text.get("label") == row.get("label")


@pytest.mark.parametrize(("format", "name"), [("trl", "preference"), ("kto", "unpaired"), ("trl", "sft")])
def test_trl_s_trainers_prepare_every_table(run: Path, tmp_path: Path, tiny: Path, format: str, name: str) -> None:
    """Real trainers, made but not run: every row that they were given has become tokens."""
    import trl

    kind, columns = {
        "preference": ("DPO", ("prompt_ids", "chosen_ids", "rejected_ids")),
        "unpaired": ("KTO", ("prompt_ids", "completion_ids")),
        "sft": ("SFT", ("input_ids", "labels")),
    }[name]
    (table,) = (table for table in export(run, tmp_path / "out", format) if table.name == name)
    rows = load(tmp_path / "out", table)["train"]
    settings = getattr(trl, f"{kind}Config")(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False)
    trainer = getattr(trl, f"{kind}Trainer")
    made = trainer(str(tiny), args=settings, train_dataset=rows, processing_class=load_tokenizer(str(tiny)))
    assert list(made.train_dataset["row_id"]) == list(rows["row_id"])
    assert all(min(map(len, made.train_dataset[column])) > 3 for column in columns)


def test_an_exported_row_has_the_tokens_that_charter_trains_on(run: Path, tmp_path: Path, tokenizer: Any) -> None:
    from trl.data_utils import maybe_apply_chat_template

    preference, sft = export(run, tmp_path / "out", "trl")
    ends = end_tokens(str(MODEL), tokenizer)
    pair, learnt = (load(tmp_path / "out", table)["train"][0] for table in (preference, sft))
    flat = {name: pair[name] for name in ("row_id", "prompt", "p_chosen")}
    flat |= {name: pair[name][0]["content"] for name in ("chosen", "rejected")}
    (ours,) = encode_rows(pa.Table.from_pylist([flat]), tokenizer, ends, 1024, "sandbox").kept
    text = maybe_apply_chat_template(pair, tokenizer)
    for name in ("chosen", "rejected"):
        theirs = tokenizer(text["prompt"] + text[name], add_special_tokens=False)["input_ids"]
        assert theirs == ours["prompt_ids"] + ours[f"{name}_ids"]
    assert ours["p_chosen"] == pair["p_chosen"]
    flat = {name: learnt[name] for name in ("row_id", "prompt")} | {"completion": learnt["completion"][0]["content"]}
    (ours,) = encode_rows(pa.Table.from_pylist([flat]), tokenizer, ends, 1024, "sandbox").kept
    text = maybe_apply_chat_template(learnt, tokenizer)
    whole = tokenizer(text["prompt"] + text["completion"], add_special_tokens=False)["input_ids"]
    assert ours["input_ids"] == whole


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_no_prompt_is_on_both_sides_of_any_table(run: Path, tmp_path: Path, format: str) -> None:
    sides: dict[str, set[str]] = {"train": set(), "test": set()}
    for table in export(run, tmp_path / "out", format):
        for side, rows in rows_of(load(tmp_path / "out", table)).items():
            sides[side] |= {normalized_text(row["prompt"]) for row in rows}
    assert len(sides["train"]) > len(sides["test"]) > 5
    assert not sides["train"] & sides["test"]


def test_rows_that_are_added_move_none_of_those_before(run: Path, tmp_path: Path) -> None:
    fewer = make_run(tmp_path / "outputs", LAW, prompts(60)[::-1], answer)
    export(fewer, tmp_path / "few", "trl")
    export(run, tmp_path / "many", "trl")
    before, after = (
        {(row["row_id"], path.relative_to(folder)) for path in folder.rglob("*.parquet") for row in read_rows(path)}
        for folder in (tmp_path / "few", tmp_path / "many")
    )
    assert before < after


def test_without_a_share_there_is_no_test_side(run: Path, tmp_path: Path) -> None:
    for table in export(run, tmp_path / "out", "datasets", test_share=0.0):
        assert set(table.files) == set(load(tmp_path / "out", table)) == {"train"}


def test_a_side_without_rows_has_no_file(tmp_path: Path) -> None:
    few = make_run(tmp_path / "outputs", LAW, prompts(6), answer)
    assert not any(in_test(row["prompt"], 1e-9) for row in read_rows(few / "prompts"))
    for format in FORMATS:
        for table in export(few, tmp_path / format, format, test_share=1e-9):
            assert set(table.files) == set(load(tmp_path / format, table)) == {"train"}


def test_labels_under_the_least_that_is_asked_for_are_left_out_and_counted(run: Path, tmp_path: Path) -> None:
    tables = export(run, tmp_path / "out", "trl", min_p=0.75)
    for table, source in zip(tables, ("pairs", "sft_data"), strict=True):
        rows = [row for side in load(tmp_path / "out", table).values() for row in side]
        wanted = [row for row in read_rows(run / source) if row["p_chosen"] is None or row["p_chosen"] >= 0.75]
        assert sorted(row["row_id"] for row in rows) == sorted(row["row_id"] for row in wanted)
        assert table.left_out == len(list(read_rows(run / source))) - len(wanted) > 0
    with pytest.raises(DataError, match=r"no row to export\. Let it finish first, or lower --min-p \(now 0\.99\)"):
        only_pairs = shutil.copytree(run, tmp_path / "run")
        shutil.rmtree(only_pairs / "sft_data")
        export(only_pairs, tmp_path / "none", "trl", min_p=0.99)


def test_a_prompt_on_both_sides_is_found_in_what_was_written(run: Path, tmp_path: Path) -> None:
    rows = [made for row in read_rows(run / "pairs") for made in PREFERENCE.rows_of(row)]
    leaked = rows[3] | {"prompt": [{**turn, "content": turn["content"].upper()} for turn in rows[3]["prompt"]]}
    (tmp_path / "preference").mkdir()
    counts = write_parquet(tmp_path / "preference", PREFERENCE.schema, {"train": iter(rows), "test": iter([leaked])})
    files = {side: f"preference/{side}.parquet" for side in counts}
    table = ExportedTable("preference", PREFERENCE.schema, files, counts, "parquet")
    with pytest.raises(CountMismatch, match="1 prompts are in train and in test"):
        check_apart(tmp_path, (table,))


def test_what_an_earlier_version_did_not_write_is_empty(run: Path, tmp_path: Path) -> None:
    old = shutil.copytree(run, tmp_path / "run")
    for shard in (old / "sft_data").glob("*.parquet"):
        columns = ["row_id", "prompt", "completion", "kind", "source"]
        pq.write_table(pq.read_table(shard, columns=columns), shard)
    _, sft = export(old, tmp_path / "out", "trl")
    for side in load(tmp_path / "out", sft).values():
        assert {row["p_chosen"] for row in side} == {None} and side.features["p_chosen"].dtype == "float64"


def test_nothing_is_written_over_and_nothing_half_made_is_left(run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").touch()
    with pytest.raises(ConfigError, match=r"--to '.*taken': already exists"):
        export(run, taken, "trl")
    with pytest.raises(ConfigError, match=r"--to '.*mine\.txt': already exists"):
        export(run, taken / "mine.txt", "trl")
    with pytest.raises(ConfigError, match=r"--format 'csv': unknown\. Use one of: trl, kto, jsonl, datasets\."):
        export(run, tmp_path / "out", "csv")
    broken = shutil.copytree(run, tmp_path / "run")
    (broken / "sft_data" / "00001.parquet").write_bytes(b"PAR1 but no more")
    for format in FORMATS:
        with pytest.raises(DataError, match="Delete it and run again"):
            export(broken, tmp_path / "out", format)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "taken"]
    (tmp_path / "empty").mkdir()
    export(run, tmp_path / "empty", "jsonl")  # a folder that is there, but empty, is used
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["README.md", "preference", "sft"]


def test_a_saved_dataset_is_all_there_is_in_its_folder(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "datasets")
    names = sorted(path.name for path in (tmp_path / "out" / "preference").iterdir())
    assert names == ["dataset_dict.json", "test", "train"]


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_memory_does_not_grow_with_the_run(
    run: Path, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run five times as long takes no more memory, to a quarter; held whole, it would take five times as much."""
    monkeypatch.setattr("charter.data.shards.ROW_GROUP", 32)  # so that a small run is many times what is held at once
    row = next(read_rows(run / "pairs"))

    def many(shards: int) -> Path:
        folder = tmp_path / f"{shards}"
        for shard in range(shards):
            write_rows(folder / "pairs" / f"{shard:05d}.parquet", SCHEMAS["pairs"], numbered(row, shard))
        return folder

    def peak(folder: Path) -> int:
        tracemalloc.start()
        try:
            export(folder, folder / "out", format)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    export(many(1), tmp_path / "warm", format)  # imports what there is to import
    small, large = peak(many(3)), peak(many(15))
    assert large < 1.25 * small


def numbered(row: dict[str, Any], shard: int) -> Iterator[dict[str, Any]]:
    for i in range(50):
        name = f"{shard}-{i}"
        yield row | {"row_id": name, "prompt": [{"role": "user", "content": f"Question {name}?"}]}
