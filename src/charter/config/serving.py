"""How models are served."""

from collections.abc import Iterable
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from charter.config.section import Address, Count, Section, Share, Variable
from charter.core.errors import ConfigError


class Serving(Section):
    """How the model is served: vLLM is started here, or running servers are used."""

    base_urls: tuple[Address, ...] = ()
    """OpenAI-compatible servers that already run, such as http://127.0.0.1:8000/v1. Empty: start vLLM."""
    model_name: str | None = None
    """The model's name at those servers; asked from the server when empty."""
    model_revision: str | None = None
    """Which weights those servers have, where their files are on other machines: a commit, a date, any word. Part of
    what a stored completion is kept under: change it when the weights change, or their old answers are taken."""
    api_key_env: Variable = "CHARTER_API_KEY"
    """The environment variable that holds the servers' API key, if they need one. Never the key itself."""
    api_key_block: str | None = None
    """The name of a Secret block of Prefect's with that key, which a flow has in the variable while it runs."""
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long one call may take before it is made again, in seconds."""
    patience_s: Annotated[float, Field(gt=0)] = 300.0
    """How long servers that are all down are waited for, in seconds; also the longest `Retry-After` that is honoured to
    its end."""
    python: str | None = None
    """The interpreter that has vLLM, when it lives in an environment of its own."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The loopback port; a free one is taken when empty."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The number format of the weights; `auto` is float32 without a GPU."""
    max_model_len: Count | None = None
    """The longest prompt plus answer, in tokens; the model's own limit when empty."""
    memory_share: Share = 0.9
    """The share of GPU memory that vLLM may take; models that are served side by side divide it among them."""
    kv_cache_gib: Annotated[float, Field(gt=0)] = 1.0
    """Without a GPU: memory for the key-value cache, in GiB."""
    tensor_parallel: Count = 1
    """GPUs that share each layer."""
    pipeline_parallel: Count = 1
    """Groups of GPUs that share the stack of layers."""
    data_parallel: Count = 1
    """Copies of the model behind one server."""
    adapters: bool = True
    """Models that were trained with adapters of the same base, and the base, share one server, into which vLLM loads
    the adapters; where it cannot, and when off, each is served merged, by itself."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Off unless you know the model's authors."""
    startup_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long a server may take to become healthy, in seconds."""
    extra_args: tuple[str, ...] = ()
    """Further arguments for vLLM's server, as on its command line."""

    @field_validator("extra_args")
    @classmethod
    def _without_key(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        if any(argument.partition("=")[0] == "--api-key" for argument in arguments):
            raise ConfigError(  # its own error: pydantic's would repeat the value
                "serving.extra_args '--api-key': a key would stand in the configuration and in the list of processes. "
                "Leave it out: a server that is started here is on loopback and takes none. For one that you start "
                "yourself export VLLM_API_KEY, and the same key here in the variable that serving.api_key_env names."
            )
        return arguments

    def at(self, base_urls: tuple[str, ...], model_name: str | None, api_key_env: str | None = None) -> "Serving":
        """The same for another model on other servers, which get this one's key only where they are on its hosts."""
        near = _hosts(base_urls) <= _hosts(self.base_urls)
        key = api_key_env or (self.api_key_env if near else "")
        return self.model_copy(update={"base_urls": base_urls, "model_name": model_name, "api_key_env": key})


def _hosts(urls: Iterable[str]) -> set[str | None]:
    return {urlsplit(url).hostname for url in urls}
