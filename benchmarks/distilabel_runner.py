"""Respond, critique and revise by distilabel; run by `distilabel_chain.py` with the Python that has it.

python distilabel_runner.py URL MODEL ROWS MAX_TOKENS BATCH
"""

import json
import sys
import time
from pathlib import Path

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts, StepInput, step
from distilabel.steps.tasks import ChatGeneration

COLUMNS = ["messages", "generation", "critique_request", "revision_request"]


def _goes_on(row, request):
    answer = {"role": "assistant", "content": row["generation"] or "-"}
    return [*row["messages"], answer, {"role": "user", "content": row[request]}]


@step(inputs=COLUMNS, outputs=["messages"])
def AskForCritique(inputs: StepInput):
    for row in inputs:
        row["messages"] = _goes_on(row, "critique_request")
    yield inputs


@step(inputs=COLUMNS, outputs=["messages"])
def AskForRevision(inputs: StepInput):
    for row in inputs:
        row["messages"] = _goes_on(row, "revision_request")
    yield inputs


def main() -> None:
    url, model, path, max_tokens, batch = sys.argv[1:]
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = [{"messages": [{"role": "user", "content": row["prompt"]}], **row} for row in map(json.loads, lines)]
    sampling = {"max_new_tokens": int(max_tokens), "temperature": 0.0}

    def generation(name: str) -> ChatGeneration:
        llm = OpenAILLM(model=model, base_url=url, api_key="none", generation_kwargs=sampling)
        plain = {"add_raw_input": False, "add_raw_output": False}
        return ChatGeneration(name=name, llm=llm, input_batch_size=int(batch), **plain)

    with Pipeline(name="chain") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=int(batch))
        respond, critique, revise = generation("respond"), generation("critique"), generation("revise")
        asks = AskForCritique(input_batch_size=int(batch)), AskForRevision(input_batch_size=int(batch))
        load >> respond >> asks[0] >> critique >> asks[1] >> revise
    began = time.monotonic()
    made = pipeline.run(use_cache=False)["default"]["train"]
    seconds = time.monotonic() - began
    whole = sum(text is not None for text in made["generation"])
    print(json.dumps({"rows": len(made), "whole": whole, "seconds": seconds}))


if __name__ == "__main__":
    main()
