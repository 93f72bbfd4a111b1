"""A judge, a strategy, a source and a filter of the user's own, from a file that the config names."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from charter.config import Config, parse_config
from charter.constitution import Constitution, Principle
from charter.core.messages import user
from charter.data.sources import load_prompts
from charter.evaluation.records import Graded, HeldOut, exact_grader_of
from charter.pipeline.filters import fault_of_answer, fault_of_pair
from charter.pipeline.judges.floor import how_asked
from charter.pipeline.judges.kinds import check_judge, judge_of
from charter.pipeline.rows import StageContext
from charter.pipeline.strategies import Material, Plan, candidates
from charter.runs.preflight import check_plugins
from charter.testing.scripted import ScriptedModel

MODULE = """
from dataclasses import replace

from charter.data.candidates import prompt_source
from charter.evaluation.records import exact_grader
from charter.pipeline.filters import answer_filter, pair_filter
from charter.pipeline.judges.protocol import Judgement, judge
from charter.pipeline.strategies import AnswerPair, strategy


@judge("shorter", templates=["choice"])
async def prefer_the_shorter(prompt, first, last, principles, context, /, *, settings):
    p = 0.9 if len(last) < len(first) else 0.1
    return Judgement(p, (p,) * len(principles), (p, p), principles=tuple(principles))


@strategy("first-and-third", answers=3)
def first_and_third(material):
    yield AnswerPair(material.answers[0], material.answers[2])


@prompt_source("numbers")
def numbers(settings, seed):
    for number in range(settings.n or 3):
        yield {"prompt": f"What is {number} plus {seed}?", "kind": "sum", "id": str(number)}


@answer_filter("shouting")
def shouting(answer, settings, language):
    return answer.isupper()


@pair_filter("same-length")
def same_length(first, last, settings):
    return len(first) == len(last)


@exact_grader("mine")
def grade(answer, request):
    return replace(answer, harmful="harm" in answer.response)
"""
LAW = Constitution("own", "1", (Principle("p", "P", "Be brief."),))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "mine.py"
    path.write_text(MODULE)
    return parse_config(
        {
            "plugins": [str(path)],
            "prompts": {"source": "numbers", "n": 2},
            "judge": {"kind": "shorter"},
            "evaluation": {"grader": "mine"},
            "pairs": {
                "strategies": {"revision": 0, "custom": {"first-and-third": 1.0}},
                "filters": {"custom": ["shouting", "same-length"]},
            },
        }
    )


async def test_a_config_uses_what_a_file_of_the_user_registers(config: Config) -> None:
    check_plugins(config)
    check_judge(config.judge, LAW)
    prompts = load_prompts(config.prompts, 7).prompts
    assert [(p.messages[0]["content"], p.kind) for p in prompts] == [
        ("What is 0 plus 7?", "sum"),
        ("What is 1 plus 7?", "sum"),
    ]
    context = StageContext(ScriptedModel(lambda messages, sampling: "").ask, LAW, 0, "model")
    judgement = await judge_of(config.judge)([user("q")], "a long answer", "short", LAW.principles, context)
    assert (judgement.p, judgement.principles) == (0.9, LAW.principles)
    assert list(how_asked(config.judge, config.generation)["templates"]) == ["choice"]
    row = {"row_id": "7", "prompt": [user("q")], "first": "a", "last": "a", "drawn": (), "model_identity": "m"}
    plan = Plan(config.pairs, 0.0, 0)
    material = Material(row, (), ["one", "two", "three"])
    assert config.pairs.sampled and plan.samples(material) == 2
    (pair,) = candidates([material], plan)
    assert (pair["pair_id"], pair["first"], pair["last"]) == ("7/first-and-third/0", "one", "three")
    filters = config.pairs.filters
    assert fault_of_answer("NO NO", filters, "en") == "shouting"
    assert fault_of_pair("one", "two", filters, "en") == "same-length"
    assert fault_of_pair("one", "three", filters, "en") is None
    grade, request = exact_grader_of(config.evaluation), HeldOut("1", "q", "harmful")
    assert grade(Graded("1", "harmful", None, "q", "some harm", "stop"), request).harmful is True


def test_another_process_finds_the_plugins_of_a_config_that_is_sent_to_it(config: Config, tmp_path: Path) -> None:
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(config))
    code = """
import pickle, sys
from charter.pipeline.judges.kinds import judge_of
config = pickle.load(open(sys.argv[1], "rb"))
print(judge_of(config.judge).func.__name__)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "config.pickle")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "prefer_the_shorter"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plugins": ["no_such_module"]}, "plugins 'no_such_module': cannot be imported"),
        ({"plugins": ["missing/file.py"]}, "plugins 'missing/file.py': cannot be imported"),
        ({"judge": {"kind": "choise"}}, "judge.kind 'choise': no such judge. Did you mean 'choice'"),
        (
            {"pairs": {"strategies": {"custom": {"sample": 1}}}},
            "pairs.strategies.custom 'sample': no such pair strategy",
        ),
        ({"pairs": {"filters": {"custom": ["shout"]}}}, "pairs.filters.custom 'shout': no such filter"),
        ({"evaluation": {"grader": "oracel"}}, "'oracel': no such exact grader"),
    ],
    ids=["module", "file", "judge", "strategy", "filter", "grader"],
)
def test_an_unknown_name_is_an_error_before_anything_starts(settings: dict[str, object], message: str) -> None:
    # in a process of its own, because a module that cannot be imported stays named in this one
    code = """
import json, sys
from charter.config import parse_config
from charter.constitution import Constitution, Principle
from charter.core.errors import ConfigError
from charter.evaluation.records import exact_grader_of
from charter.pipeline.judges.kinds import check_judge
from charter.runs.preflight import check_plugins
config = parse_config(json.loads(sys.argv[1]))
try:
    check_plugins(config)
    check_judge(config.judge, Constitution("own", "1", (Principle("p", "P", "Be brief."),)))
    exact_grader_of(config.evaluation)
except ConfigError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, json.dumps(settings)]
    assert message in subprocess.run(command, check=True, capture_output=True, text=True).stdout
