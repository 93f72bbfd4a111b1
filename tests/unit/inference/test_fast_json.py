"""JSON by two libraries is JSON of one kind."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.inference.fast_json import canonical, dumps, loads

TEXT = st.text(st.characters(codec=None))  # halves of pairs among them
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(VALUE)
def test_what_was_written_is_read_by_either(value: object) -> None:
    written = dumps(value)
    assert json.loads(written) == loads(written) == value


@given(st.lists(st.fixed_dictionaries({"content": TEXT, "role": TEXT})))
def test_the_canonical_form_is_that_of_the_json_module(messages: list[dict[str, str]]) -> None:
    written = json.dumps(messages, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    assert canonical(messages) == written


def test_what_servers_send_that_is_no_json_is_read_as_the_json_module_reads_it() -> None:
    assert loads(b'{"logprob": -Infinity, "text": "\\ud83d"}') == {"logprob": -math.inf, "text": "\ud83d"}
    with pytest.raises(ValueError, match="Expecting value"):
        loads(b"<html>")
