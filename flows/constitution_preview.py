"""Show what a constitution makes of a handful of prompts, in minutes.

charter preview configs/demo.yaml name=preview prompts.n=5
"""

from contextlib import aclosing

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact

from charter.config import Config
from charter.runs.preflight import check_config
from charter.views.preview.page import render_preview, write_page
from charter.views.preview.preview import previews
from charter.views.preview.text import preview_markdown, preview_summary
from flows.lib.api_keys import api_key
from flows.lib.command import FlowCommand
from flows.lib.flow_run import open_flow_run
from flows.lib.serving import serve_base


@flow(name="constitution-preview", flow_run_name="preview-{config.constitution.stem}")
async def constitution_preview(config: Config) -> None:
    """A constitution and a few prompts in; each prompt's answers and critiques, before and after, out.

    Args:
        config: the constitution, the model and `prompts.n`, the number of prompts; neither judge nor training count.
    """
    with api_key(config.serving):
        source = check_config(config)
    prompts = [prompt.row() for prompt in source.prompts()]
    with open_flow_run(config) as run:
        async with (
            serve_base(run) as base,
            aclosing(
                previews(config.constitution, prompts, run.session, base, config, run.progress.report)
            ) as versions,
        ):
            preview = await anext(versions)

    write_page(config.run_folder / "preview.html", render_preview(preview))
    await run.progress.publish(
        acreate_markdown_artifact, preview_markdown(preview), key="preview", description=preview_summary(preview)
    )
    run.progress.say(f"{preview_summary(preview)}: {config.run_folder / 'preview.html'}")


command = FlowCommand(constitution_preview)

if __name__ == "__main__":
    command.main()
