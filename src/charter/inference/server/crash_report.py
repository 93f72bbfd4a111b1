"""Why a vLLM server crashed, read from its log, and what to do about it."""

import re
from pathlib import Path
from typing import NamedTuple

_TAIL_BYTES = 200_000
_SHOWN_LINES = 8
_SHOWN_COLUMNS = 300
_NOTICE = re.compile(r"\b(?:INFO|WARNING|DEBUG) \d\d-\d\d |^INFO: |Warning: ")
_PREFIX = re.compile(r"^\(\w+ pid=\d+\) (?:ERROR \S+ \S+ \[[^\]]+\] ?)?")
_NOISE = re.compile(
    r"  (?!Value error)|Traceback \(|Triton is installed|Loading safetensors|Process \w+:$|During handling of"
)


class _Cause(NamedTuple):
    sign: re.Pattern[str]
    meaning: str
    """May contain ``{0}``: the first group that the sign matched."""


def _cause(sign: str, meaning: str) -> _Cause:
    return _Cause(re.compile(sign, re.IGNORECASE), meaning)


# The first match wins, so specific causes come before general ones.
_CAUSES = (
    _cause(
        r"address already in use",
        "the port is taken. Set serving.port to a free one, or leave it empty.",
    ),
    _cause(
        r"unrecognized arguments?: (.+)|invalid choice: (.+)|error: argument ([^\n]+)",
        "vLLM does not know an argument ({0}). Correct serving.extra_args.",
    ),
    _cause(
        r"please pass the argument .?trust_remote_code|contains custom code which must be executed",
        "the model comes with its own code, which runs only with permission. If you trust its authors, set "
        "serving.trust_remote_code: true.",
    ),
    _cause(
        r"model architectures? (\[[^\]]*\]) (?:are|is) not supported|does not recognize this architecture"
        r"|model type `?(\w+)`? but|no model architectures are specified|(\w+) has no vllm implementation",
        "vLLM does not know this architecture {0}. Use a model that your vLLM serves, or a newer vLLM "
        "(serving.python names the interpreter that has it).",
    ),
    _cause(
        r"unsupported cpu attention configuration: head_dim=(\d+)|(head size \d+) is not supported",
        "this build of vLLM cannot serve attention heads of size {0}. Use a model whose heads are larger, or a GPU.",
    ),
    _cause(
        r"out of memory|outofmemoryerror|cannot allocate memory|std::bad_alloc|defaultcpuallocator: can't allocate"
        r"|not enough memory|no available memory for the cache blocks|larger than the available kv cache memory"
        r"|free memory on device|insufficient memory|is less than requested memory|ended with status -9\b",
        "out of memory. Lower serving.max_model_len, serving.memory_share (or raise it, when only the cache does not "
        "fit) or, without a GPU, serving.kv_cache_gib; spread the model with serving.tensor_parallel; or end other "
        "programs that use the memory.",
    ),
    _cause(
        r"user-specified max_model_len \((\d+)\) is greater",
        "serving.max_model_len {0} is more than the model can read. Lower it, or leave it empty.",
    ),
    _cause(
        r"(?:bfloat16|float16|dtype)[^\n]*(?:only supported|not supported)|unknown dtype|unsupported dtype",
        "the number format does not fit this model or machine. Set serving.dtype to float32, or to auto.",
    ),
    _cause(
        r"no module named '?([\w.]+)",
        "the module {0} is missing in vLLM's environment. Install it there, or name another interpreter in "
        "serving.python; `charter doctor` looks at it.",
    ),
    _cause(
        r"operator torchvision::nms does not exist|libtorchcodec|undefined symbol: [^\n]*torch",
        "a torch add-on does not fit the installed torch. Remove it: pip uninstall torchvision torchaudio torchcodec.",
    ),
    _cause(
        r"safetensors?_?error|error while deserializing header|headertoolarge|metadataincompletebuffer|invalidheader",
        "the weights are damaged or incomplete. Copy or download the model again.",
    ),
    _cause(
        r"cannot find any model weights|no \.safetensors or \.bin|weights were not initialized"
        r"|is not in the checkpoint",
        "weights are missing from the model's folder. Copy or download the model again.",
    ),
    _cause(
        r"couldn't instantiate the backend tokenizer|can't load tokenizer|tokenizer[^\n]*not found",
        "the model's folder has no tokenizer that can be read. Save the tokenizer into the folder.",
    ),
    _cause(
        r"offlinemodeisenabled|localentrynotfound|couldn't connect to|max retries exceeded|name or service not known",
        "the model is not on this machine and the hub cannot be reached. Name a model folder, or unset HF_HUB_OFFLINE.",
    ),
    _cause(
        r"world size \(?\d+\)? is larger|not enough allowed numa nodes|no cuda gpus are available"
        r"|must be divisible by tensor parallel size",
        "the model cannot be spread like this over these devices. Lower serving.tensor_parallel, "
        "serving.pipeline_parallel or serving.data_parallel.",
    ),
)


def explain_log(log_text: str) -> str:
    """What the log's last part means, and what to do about it."""
    return _diagnose(_informative_lines(log_text)).meaning


def crash_message(model: str, log: Path, offset: int = 0) -> str:
    """The whole message: the meaning first, then the last informative lines of the log.

    Args:
        model: as the user named it.
        log: the server's output.
        offset: where this server's part of the file begins, in bytes.
    """
    lines = _informative_lines(read_tail(log, offset))
    meaning, line = _diagnose(lines)
    end = len(lines) if line is None else line + 4
    shown = "\n".join(f"  {text[:_SHOWN_COLUMNS]}" for text in lines[max(0, end - _SHOWN_LINES) : end])
    return f"server for model '{model}': {meaning}\nFrom the end of {log}:\n{shown or '  (empty)'}"


class _Diagnosis(NamedTuple):
    meaning: str
    line: int | None
    """Where the sign was found."""


def _diagnose(lines: list[str]) -> _Diagnosis:
    for cause in _CAUSES:
        for number, line in enumerate(lines):
            if match := cause.sign.search(line):
                detail = next((group for group in match.groups() if group), "")
                meaning = cause.meaning.format(detail.strip()).replace("  ", " ").replace(" .", ".")
                return _Diagnosis(meaning, number)
    return _Diagnosis("it exited for an unrecognised reason; see the last lines of its log.", None)


def _informative_lines(log_text: str) -> list[str]:
    """Each line once, without notices, traceback frames and vLLM's line prefixes."""
    lines = (_PREFIX.sub("", line.rstrip()) for line in log_text.splitlines() if not _NOTICE.search(line))
    return list(dict.fromkeys(line for line in lines if line.strip() and not _NOISE.match(line)))


def read_tail(log: Path, offset: int = 0) -> str:
    """The end of a log: from `offset`, but at most the last 200 kB; empty if it cannot be read."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(offset, size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
