"""Each watchdog, shown by a configuration, a data set or a model that is bad in its way, with TRL on the tiny model."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from charter.core.errors import TrainingError
from charter.training.preference import Reference, write_reference
from charter.training.watch import Watch
from tests.support.training_build import build
from tests.support.training_data import pairs

Data = list[dict[str, object]]


def with_template(model: Path, folder: Path, old: str, new: str) -> Path:
    """The model with another chat template."""
    shutil.copytree(model, folder)
    template = folder / "chat_template.jinja"
    assert old in template.read_text()
    template.write_text(template.read_text().replace(old, new))
    return folder


def near_identical(n: int) -> Data:
    """Pairs of which the worse answer says what the better one says, three times."""
    text = "You cut the lock at night before the guard comes."
    return [{**row, "chosen": text, "rejected": f"{text} {text} {text}"} for row in pairs(n)]


def marked(n: int) -> Data:
    """Pairs whose better answer carries a mark."""
    return [{**row, "chosen": f"Paris: {row['chosen']}", "rejected": f"harm: {row['chosen']}"} for row in pairs(n)]


def with_long_ones(n: int) -> Data:
    """A fifth of the answers is too long."""
    return [{**row, "chosen": "lock " * (300 if i % 5 == 0 else 3)} for i, row in enumerate(pairs(n))]


def train(model: Path, folder: Path, data: Data, **changes: Any) -> Watch:
    trainer, _, watch = build(model, folder, data, **{"batch_size": 8, "learning_rate": 1e-4} | changes)
    trainer.train()
    return watch


def falling(tiny: Path, folder: Path, watch: str) -> Watch:
    harsh = {"learning_rate": 1e-2, "sft_weight": 0.0, "epochs": 10}
    return train(tiny, folder, near_identical(24), watch=watch, **harsh)


def wrong_reference(tiny: Path, folder: Path, watch: str) -> Watch:
    """The file of an unfinished run says what another model would."""
    build(tiny, folder, pairs(8))
    path = folder / "out" / "reference.parquet"
    table = pq.read_table(path)
    other = Reference([value - 20 for value in table["chosen"].to_pylist()], table["rejected"].to_pylist())
    write_reference(path, table.schema.metadata[b"charter.reference"].decode(), other)
    return train(tiny, folder, pairs(8), watch=watch)


def leak(tiny: Path, folder: Path, watch: str) -> Watch:
    return train(tiny, folder, marked(448), watch=watch, batch_size=64, learning_rate=2e-3)


def drift(tiny: Path, folder: Path, watch: str) -> Watch:
    """An untrained model never ends; this one learns one short answer."""
    data = [{**row, "chosen": "Paris."} for row in pairs(16)]
    return train(tiny, folder, data, watch=watch, epochs=10, learning_rate=1e-2, sft_weight=1.0)


def nothing_learnt(tiny: Path, folder: Path, watch: str) -> Watch:
    """One step, and warm-up gives it a learning rate of 0."""
    return train(tiny, folder, pairs(8), watch=watch, warmup_share=0.1)


def not_a_number(tiny: Path, folder: Path, watch: str) -> Watch:
    return train(tiny, folder, pairs(16), watch=watch, learning_rate=1e30)


def long_rows(tiny: Path, folder: Path, watch: str) -> Watch:
    return train(tiny, folder, with_long_ones(20), watch=watch)


def no_end(tiny: Path, folder: Path, watch: str) -> Watch:
    """The template ends only some turns."""
    end = "+ ('' if 'Paris' in message['content'] and message['role'] == 'assistant' else '<|end|>')"
    model = with_template(tiny, folder / "model", "+ '<|end|>'", end)
    return train(model, folder, pairs(24), watch=watch)


def altered(tiny: Path, folder: Path, watch: str) -> Watch:
    """The template writes what nobody said."""
    model = with_template(tiny, folder / "model", "message['content']", "message['content'] | upper")
    return train(model, folder, pairs(8), watch=watch)


def other_prompt(tiny: Path, folder: Path, watch: str) -> Watch:
    """The template asks for an answer with words that stand before no answer."""
    model = with_template(tiny, folder / "model", "'<|assistant|>' }}{% endif", "'<|assistant|>Think. ' }}{% endif")
    return train(model, folder, pairs(8), watch=watch)


DOGS: list[tuple[Callable[[Path, Path, str], Watch], str]] = [
    (falling, r"log p\(chosen\) fell by \d+\.\d nats per answer from its reference: likelihood displacement"),
    (leak, r"256 pairs from step \d on are all ranked right"),
    (drift, r"answers became shorter: from \d+ tokens to \d+"),
    (nothing_learnt, r"0\.0000, after 1 optimiser step\(s\), 0 of which had a learning rate above 0"),
    (long_rows, r"4 of 20 rows \(20%\) are over 256 tokens and are left out.*Raise training\.dpo\.max_length"),
    (no_end, r"\d+ of 24 rows have no end-of-turn token.*never stops.*Fix the chat template"),
    (altered, r"8 of 8 rows are changed .* p0: 'You .*' becomes 'YOU .*Fix chat_template\.jinja"),
    (other_prompt, r"8 of 8 rows are changed .* p0: the prompt .* ends with 'Think\. ', which is not there"),
]
HOPELESS: list[tuple[Callable[[Path, Path, str], Watch], str]] = [
    (wrong_reference, r"the first preference loss is \d\.\d+, not 0\.6931: the reference is not the model"),
    (not_a_number, r"(loss|grad_norm) became (nan|inf) at optimiser step \d+\. Lower training\.dpo\.learning_rate"),
]


@pytest.mark.parametrize(("bad", "text"), DOGS, ids=[bad.__name__ for bad, _ in DOGS])
def test_a_watchdog_says_what_it_sees(
    tiny: Path, tmp_path: Path, bad: Callable[[Path, Path, str], Watch], text: str
) -> None:
    said = bad(tiny, tmp_path, "warn").warnings
    assert any(re.search(text, warning) for warning in said), said


@pytest.mark.parametrize(("bad", "text"), [*DOGS, *HOPELESS], ids=[bad.__name__ for bad, _ in [*DOGS, *HOPELESS]])
def test_a_watchdog_stops_the_run(
    tiny: Path, tmp_path: Path, bad: Callable[[Path, Path, str], Watch], text: str
) -> None:
    with pytest.raises(TrainingError, match=text):
        bad(tiny, tmp_path, "stop")


@pytest.mark.parametrize(("bad", "text"), HOPELESS, ids=[bad.__name__ for bad, _ in HOPELESS])
def test_what_gives_no_model_is_stopped_without_being_asked(
    tiny: Path, tmp_path: Path, bad: Callable[[Path, Path, str], Watch], text: str
) -> None:
    with pytest.raises(TrainingError, match=text):
        bad(tiny, tmp_path, "warn")


def test_silence_is_kept_where_it_is_asked_for(tiny: Path, tmp_path: Path) -> None:
    assert altered(tiny, tmp_path, "off").warnings == []


def test_good_pairs_alarm_nobody(tiny: Path, tmp_path: Path) -> None:
    assert train(tiny, tmp_path, pairs(32), watch="stop", epochs=2).warnings == []
