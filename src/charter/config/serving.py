"""How models are served."""

from typing import Annotated, Literal

from pydantic import Field

from charter.config.section import Count, Section, Share


class Serving(Section):
    """How the model is served: vLLM is started here, or running servers are used."""

    base_urls: tuple[str, ...] = ()
    """OpenAI-compatible servers that already run, such as http://127.0.0.1:8000/v1. Empty: start vLLM."""
    model_name: str | None = None
    """The model's name at those servers; asked from the server when empty."""
    model_revision: str | None = None
    """Which weights those servers have, where their files are on other machines: a commit, a date, any word. Part of
    what a stored completion is kept under: change it when the weights change, or their old answers are taken."""
    api_key_env: str = "CHARTER_API_KEY"
    """The environment variable that holds the servers' API key, if they need one. Never the key itself."""
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
