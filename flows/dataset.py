"""Make a dataset under a constitution: revisions for SFT, soft-labelled pairs for DPO, and nothing trained.

charter dataset configs/hh-rlhf.yaml
"""

from prefect import flow

from charter.config import Config
from charter.review.waiting import waiting
from charter.runs.folder import locked
from charter.runs.mirror import brought_home
from charter.runs.preflight import check
from flows.artifacts import finish
from flows.driving import driving
from flows.keys import api_key
from flows.lib.command import FlowCommand
from flows.progress import live
from flows.review import review
from flows.serving import serve_makers
from flows.tasks import make_dataset


@flow(name="dataset", flow_run_name="dataset-{config.name}")
async def dataset(config: Config) -> None:
    """A constitution and prompts in; responses, revisions, pairs and the rows that failed out."""
    with api_key(config.serving):
        check(config)
    with locked(config.work_folder), live(), driving(config):
        if reviewed := waiting(config, "review"):  # suspended when the data was made
            counts, makers = reviewed
        else:
            with serve_makers(config) as makers:
                counts = await make_dataset(config, makers)
        counts += await review(config, counts, makers)  # by people, if review.labels asks for them
        with brought_home(config) as here:  # a copy, if `outputs` are on S3
            await finish(here, counts, makers, again="dataset")


command = FlowCommand(dataset)

if __name__ == "__main__":
    command.main()
