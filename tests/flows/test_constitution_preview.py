"""The preview flow on real Prefect: what a few prompts become, as an artifact that reads well."""

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, FlowRunFilterName

from charter.config import Config
from charter.constitution.problems import BrokenConstitution
from charter.testing.null_server import NullServer
from flows.constitution_preview import constitution_preview

LAW = "# Calm\n\n## Stay calm\n\nA good answer keeps a calm tone.\n"


def config(folder: Path, url: str, law: str) -> Config:
    (folder / "calm.md").write_text(law)
    return Config.model_validate(
        {
            "name": "preview",
            "outputs": str(folder),
            "constitution": str(folder / "calm.md"),
            "prompts": {"n": 3},
            "serving": {"base_urls": [url]},
            "generation": {"rounds": 1},
        }
    )


async def test_a_preview_is_an_artifact_and_a_page(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    await constitution_preview(config(tmp_path, model_server.url, LAW))
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=["preview-calm"]))
        artifacts = await client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=named)
    (shown,) = [artifact for artifact in artifacts if artifact.key == "preview"]
    text = str(shown.data)
    assert [f"### {n} of 3" in text for n in (1, 2, 3)] == [True] * 3
    assert text.count("**Round 1, violated, answer revised: Stay calm**".replace(",", r"\,").replace(":", r"\:")) == 3
    assert "good\\: I will not\\." in text
    assert shown.description is not None and shown.description.startswith("3 of 3 answers revised")
    assert "I will not." in (tmp_path / "preview" / "preview.html").read_text()


async def test_a_broken_constitution_fails_the_flow_with_its_line(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    with pytest.raises(BrokenConstitution, match=r"calm\.md"):
        await constitution_preview(config(tmp_path, model_server.url, "no heading at all\n"))
    assert model_server.counts["requests"] == 0
