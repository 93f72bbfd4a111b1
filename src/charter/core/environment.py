"""Which environment variables a child process gets: an allow-list, so that no API key reaches a process by accident.

vLLM runs code of models, trainers run code of models, and benchmark tools run tasks that users wrote. None of them
needs the keys of a judge, a tracker or a store unless the config says so.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

PASS_ENV = "CHARTER_PASS_ENV"
"""A user's comma-separated list of further variables (``NAME`` or ``PREFIX_*``) for all child processes."""

HUB_KEYS = ("HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN")

_SYSTEM = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "HOSTNAME", "TERM", "TZ", "LANG", "LANGUAGE", "LC_*"),
    *("TMPDIR", "TEMP", "TMP", "XDG_*", "LD_*", "DYLD_*", "LIBRARY_PATH", "CPATH", "CC", "CXX", "MAX_JOBS"),
    *("PYTHON*", "VIRTUAL_ENV", "CONDA_*", "MALLOC_*", "MPLCONFIGDIR"),
    # A process's run, so that an operator sees from /proc which processes belong to it.
    *("PREFECT_HOME", "PREFECT__FLOW_RUN_ID"),
)
_NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "DO_NOT_TRACK", "NO_COLOR"),
)
_COMPUTE = (
    *("CUDA_*", "NVIDIA_*", "NCCL_*", "GLOO_*", "CUDNN_*", "CUBLAS_*", "TORCH_*", "TORCHINDUCTOR_*", "PYTORCH_*"),
    *("TRITON_*", "ROCR_*", "HIP_*", "HSA_*", "UCX_*", "NUMA_*", "OMP_*", "MKL_*", "KMP_*", "GOMP_*", "OPENBLAS_*"),
    *("ONEDNN_*", "DNNL_*", "ATEN_*", "VLLM_*", "FLASHINFER_*", "RAY_*", "ACCELERATE_*", "FSDP_*", "DEEPSPEED_*"),
    *("DS_*", "MASTER_ADDR", "MASTER_PORT", "BITSANDBYTES_*", "BNB_*", "SLURM_*"),
)
_MODELS = ("HF_*", "HUGGINGFACE_*", "TRANSFORMERS_*", "TOKENIZERS_*", "TIKTOKEN_*", "NLTK_DATA", "TQDM_*")

_SECRET = re.compile(r"(?:^|_)(?:API)?(?:KEY|KEYS|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_|$)", re.IGNORECASE)


def child_environment(hub: bool = False, extra: Iterable[str] = ()) -> dict[str, str]:
    """This process's variables that a child needs to find its programs, libraries, devices and caches.

    Args:
        hub: it loads models or data from the hub, for which it gets the hub's token.
        extra: further names, or prefixes that end in ``*``, such as those of a tracker; keys among them are passed.
    """
    users = (name.strip() for name in os.environ.get(PASS_ENV, "").split(","))
    with_keys = [*extra, *filter(None, users), *(HUB_KEYS if hub else ())]
    # Names that a user or the config gives are meant, keys included; the general ones never pass a key.
    without_keys = [*_SYSTEM, *_NETWORK, *_COMPUTE, *_MODELS]
    return {
        name: value
        for name, value in os.environ.items()
        # A general prefix such as VLLM_* or HF_* must not let VLLM_API_KEY or HF_TOKEN through.
        if _matches(name, with_keys) or (_matches(name, without_keys) and not _SECRET.search(name))
    }


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)


def python_path() -> str:
    """PYTHONPATH for a child that imports charter, also from a source tree that is not installed."""
    source = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
