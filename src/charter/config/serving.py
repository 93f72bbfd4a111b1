"""How models are served, where the work runs, and what it may cost."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from charter.config.section import (
    ACCEPT_EXPONENT,
    EnvVarName,
    Fraction,
    NonNegativeInt,
    PathOrName,
    PositiveInt,
    Section,
    ServerAddress,
)
from charter.core.errors import ConfigError


class Serving(Section):
    """How the model is served: vLLM is started on this machine, or running servers are used."""

    advanced = frozenset({
        "model_revision", "api_key_block", "timeout_s", "patience_s", "python", "port", "pipeline_parallel",
        "data_parallel", "adapters", "trust_remote_code", "startup_timeout_s", "extra_args", "choice_samples",
        "chat_template_kwargs", "thinking_tokens",
    })  # fmt: skip

    base_urls: tuple[ServerAddress, ...] = ()
    """OpenAI-compatible servers that already run, such as http://127.0.0.1:8000/v1. Empty: start vLLM."""
    model_name: str | None = None
    """The model's name at those servers; the servers are asked for it when empty."""
    api_key_env: EnvVarName = "CHARTER_API_KEY"
    """The environment variable that holds the servers' API key, if they need one. Never the key itself."""
    api_key_block: str | None = None
    """The name of a Prefect Secret block with that key. A flow sets the environment variable from it while it runs."""
    model_revision: str | None = None
    """The commit, branch or tag of a hub id in `model`: it is served and trained from there. Of running servers whose
    files are on other machines: a commit, a date, any word that says which weights they have. It is part of the key of
    stored completions: change it when the weights change, or the stored answers of the earlier weights are used."""
    choice_samples: NonNegativeInt = 8
    """How often a choice, such as the judge's A or B, is sampled at a server that returns no log-probabilities. Its
    probability is (votes + 1) / (samples + 2), so labels are soft but coarse. 0: refuse such servers."""
    chat_template_kwargs: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Variables of the model's chat template, such as `{enable_thinking: false}` of Qwen 3."""
    thinking_tokens: NonNegativeInt = 0
    """Tokens for the thoughts of a model that thinks, in addition to the `max_tokens` of its answer."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The number format of the weights; `auto` is float32 without a GPU."""
    max_model_len: PositiveInt | None = None
    """The longest prompt plus answer, in tokens; the model's own limit when empty."""
    memory_share: Fraction = 0.9
    """The fraction of GPU memory that vLLM may use. Models that are served side by side divide it among them."""
    kv_cache_gib: Annotated[float, Field(gt=0)] = 1.0
    """Without a GPU: memory for the key-value cache, in GiB."""
    tensor_parallel: PositiveInt = 1
    """GPUs that share each layer."""
    pipeline_parallel: PositiveInt = 1
    """Groups of GPUs that share the stack of layers."""
    data_parallel: PositiveInt = 1
    """Copies of the model behind one server."""
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long one call may take before it is repeated, in seconds."""
    patience_s: Annotated[float, Field(gt=0)] = 300.0
    """How long to wait for servers that are all down, in seconds; also the longest `Retry-After` that is waited for in
    full."""
    startup_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long a server may take to become healthy, in seconds."""
    python: PathOrName | None = None
    """The Python interpreter that has vLLM, when vLLM is installed in a separate environment."""
    port: Annotated[int, Field(ge=1, le=65535), ACCEPT_EXPONENT] | None = None
    """The port on the loopback interface; a free one when empty."""
    adapters: bool | None = None
    """Serve the base model and the models trained with adapters of it from one server, into which vLLM loads the
    adapters. Where vLLM cannot, and when off, each model is merged and served separately. When empty: on with a GPU,
    and off without one, where vLLM computes adapters fifteen times as slowly as merged weights."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Leave it off unless you trust the model's authors."""
    extra_args: tuple[str, ...] = ()
    """Further arguments for vLLM's server, as on its command line."""

    @field_validator("extra_args")
    @classmethod
    def _refuse_key(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        if any(argument.partition("=")[0] == "--api-key" for argument in arguments):
            raise ConfigError(  # a ConfigError, because pydantic's own error would repeat the value
                "serving.extra_args '--api-key': the key would be visible in the configuration and in the list of "
                "processes. Leave it out: a server that Charter starts listens on loopback only and needs no key. For "
                "a server that you start yourself export VLLM_API_KEY, and the same key here in the variable that "
                "serving.api_key_env names."
            )
        return arguments

    def at(self, base_urls: tuple[str, ...], model_name: str | None, api_key_env: str | None = None) -> "Serving":
        """The same settings for another model on other servers.

        Without `api_key_env` they get the key of these settings, and only if they are on the same hosts.
        """
        hosts, known_hosts = ({urlsplit(url).hostname for url in urls} for urls in (base_urls, self.base_urls))
        key = api_key_env or (self.api_key_env if hosts <= known_hosts else "")
        return self.model_copy(update={"base_urls": base_urls, "model_name": model_name, "api_key_env": key})


class Runner(Section):
    """Where the shards of a run are processed; `runner: ray` is short for `kind: ray` in this section."""

    kind: Literal["here", "ray"] = "here"
    """`here`: in the flow's own process. `ray`: in the processes of a Ray cluster, for more calls than one process can
    make; see docs/scaling.md."""
    address: str = "auto"
    """The Ray cluster of which this machine is a node: `HOST:6379`, or `auto` to have Ray find it."""
    shards: PositiveInt | None = None
    """Shards processed concurrently. Empty: four in this process; on Ray as many as its nodes have CPUs, because each
    shard uses one."""


class Budget(Section):
    """What one start of a run may spend at the models' servers; answers from the store are free."""

    calls: PositiveInt | None = None
    """Calls sent; no limit when empty."""
    tokens: PositiveInt | None = None
    """Tokens of prompts and answers together; no limit when empty. Calls in flight when it is reached still finish."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Minutes after the start, after which no new call is sent; no limit when empty. Training that has begun is not
    interrupted."""
