"""An interpreter for `serving.python` whose vLLM is the null server: a real process and real HTTP, without weights."""

import sys
from pathlib import Path

_PROGRAM = """#!{python}
import sys, threading
from charter.testing.null_server import NullServer, run_null_server

if sys.argv[1] == "-c":
    print("vllm stand-in")
else:
    option = lambda name: sys.argv[sys.argv.index(name) + 1]
    server = NullServer(model_name=option("--served-model-name"), takes_adapters={takes_adapters})
    with run_null_server(server, int(option("--port"))):
        threading.Event().wait()
"""


def write_stand_in(folder: Path, takes_adapters: bool = False) -> str:
    """Write the program; what `serving.python` is set to."""
    program = folder / "stand-in-python"
    program.write_text(_PROGRAM.format(python=sys.executable, takes_adapters=takes_adapters))
    program.chmod(0o755)
    return str(program)
