"""Why a server died, from lines that vLLM 0.32 really wrote."""

from pathlib import Path

import pytest

from charter.inference.server.crash_report import crash_message, explain_log

FAILED = "\nRuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
CORE = "(EngineCore pid=21134) ERROR 11-21 10:24:05 [core.py:1510] "


@pytest.mark.parametrize(
    ("log", "meaning"),
    [
        (
            "  Value error, The checkpoint you are trying to load has model type `foo` but Transformers does not "
            "recognize this architecture.",
            "vLLM does not know this architecture foo.",
        ),
        (
            "  Value error, Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures:",
            "vLLM does not know this architecture ['FooForCausalLM'].",
        ),
        (f"{CORE}ValueError: No available memory for the cache blocks. Try increasing", "out of memory."),
        (
            f"{CORE}ValueError: Available memory on node 0 (6.34/10.34 GiB) on kv cache allocation is less than "
            "requested memory for kv (500.0 GiB).",
            "out of memory.",
        ),
        (
            f"{CORE}RuntimeError: Unsupported CPU attention configuration: head_dim=16 isa=2 kv_cache_idx=0",
            "cannot serve attention heads of size 16.",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "out of memory."),
        ("[charter] the server's process ended with status -9", "out of memory."),
        ("OSError: [Errno 98] Address already in use", "the port is taken."),
        ("ModuleNotFoundError: No module named 'triton.backends'", "the module triton.backends is missing"),
        ("api_server.py: error: unrecognized arguments: --no-such-flag", "an argument (--no-such-flag)."),
        (
            "  Value error, User-specified max_model_len (999999) is greater than the derived max_model_len",
            "serving.max_model_len 999999 is more than the model can read.",
        ),
        (
            "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
            "Set serving.dtype to float32",
        ),
        (
            f"{CORE}safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete",
            "the weights are damaged",
        ),
        (f"{CORE}RuntimeError: Cannot find any model weights with `/m`", "weights are missing"),
        ("ValueError: Couldn't instantiate the backend tokenizer from one of:", "has no tokenizer"),
        (
            "ValueError: The repository org/m contains custom code which must be executed to correctly load the model.",
            "serving.trust_remote_code: true",
        ),
        (
            "  Value error, Total number of attention heads (2) must be divisible by tensor parallel size (4).",
            "Lower serving.tensor_parallel",
        ),
        ("RuntimeError: operator torchvision::nms does not exist", "pip uninstall torchvision"),
        ("KeyError: 'something new'", "unrecognised reason"),
    ],
)
def test_meaning(log: str, meaning: str) -> None:
    assert meaning in explain_log(f"(APIServer pid=1) INFO 11-21 10:24:05 [x.py:1] dtype not supported\n{log}{FAILED}")


def test_the_message_shows_the_cause_and_not_the_frames(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    before = "ERROR of an earlier server: out of memory\n"
    frames = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    raise ValueError(\n'
    log.write_text(f"{before}{frames}{CORE}RuntimeError: Cannot find any model weights with `/m`\n{frames}{FAILED}")
    message = crash_message("/m", log, len(before))
    assert message == (
        "server for model '/m': weights are missing from the model's folder. Copy or download the model again.\n"
        f"From the end of {log}:\n"
        "  RuntimeError: Cannot find any model weights with `/m`\n"
        "  RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    )


def test_no_log(tmp_path: Path) -> None:
    assert crash_message("m", tmp_path / "none.log").endswith("(empty)")
