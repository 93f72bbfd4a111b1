"""Make a dataset under a constitution: revisions for SFT, soft-labelled pairs for DPO, and nothing trained.

charter dataset configs/hh-rlhf.yaml
"""

from dataclasses import replace

from prefect import flow

from charter.config import Config
from charter.review.waiting import waiting
from charter.runs.folder import local_mirror, start_run
from charter.runs.outcome import check_dataset
from charter.runs.preflight import check_config
from flows.lib.api_keys import api_key
from flows.lib.artifacts import finish
from flows.lib.command import FlowCommand
from flows.lib.flow_run import open_flow_run
from flows.lib.review import review
from flows.lib.serving import serve_generation_models
from flows.lib.tasks import make_data


@flow(name="dataset", flow_run_name="dataset-{config.name}")
async def dataset(config: Config) -> None:
    """A constitution and prompts in; responses, revisions, pairs and the rows that failed out."""
    with api_key(config.serving):
        prompts = check_config(config)
    with open_flow_run(config, config.work_folder) as run:
        if reviewed := waiting(config, "review"):  # suspended when the data was made
            counts, models = reviewed
        else:
            async with serve_generation_models(run) as models:
                counts = await make_data(run, models, start_run(config, prompts))
                check_dataset(config)
        counts += await review(run, counts, models)  # by people, if review.labels asks for them
        with local_mirror(config) as here:  # a copy, if `outputs` are on S3
            await finish(replace(run, config=here), counts, models, again="dataset")


command = FlowCommand(dataset)

if __name__ == "__main__":
    command.main()
