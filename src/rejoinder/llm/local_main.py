"""What the child process of the local model runs: llama.cpp's OpenAI-compatible server, for as long as its parent lives.

It is started as a file and knows nothing of the package, so that it starts at once. The parent writes one line of JSON
to it (the settings; also the key, which therefore shows in no list of processes) and reads one line with the address.
The pipe stays open after that: its end is how every system tells the child that the parent is gone.
"""

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""

BATCH = 64
"""Tokens of prompts that are read in one step. Between two steps other replies get their next token and a client that
left is noticed: with llama.cpp's 2,048 that took 6 s, and 64 is no slower (160 tokens/s on two cores either way)."""


def main() -> None:
    # llama.cpp may write to standard output: keep the pipe for our one line, and send the rest where the log goes.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    order = json.loads(sys.stdin.buffer.readline())
    _live_no_longer_than(order["parent"])
    server = _server(order)
    print(json.dumps({"address": server.listening_address}), file=answer, flush=True)
    threading.Event().wait()


def _live_no_longer_than(parent: int) -> None:
    # When the process is told to stop is the parent's business: it may be told as well, and let replies end first.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_watch, daemon=True).start()
    if sys.platform == "linux":
        # Acts also while llama.cpp holds the interpreter. It is bound to the thread that started us, not to the process.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


def _watch() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _server(order: dict[str, Any]) -> Any:
    import xllamacpp  # takes 0.1 s and may fail for want of a system library: after we are tied to the parent

    params = xllamacpp.CommonParams()
    params.model.path = order["gguf"]
    params.model_alias = {order["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [order["key"]]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
    params.n_parallel = order["slots"]
    params.n_ctx = order["slots"] * order["context"]  # llama.cpp divides it evenly
    params.n_batch = params.n_ubatch = BATCH
    params.fit_params = False  # weighs the model against free memory for 0.3 s: ours is small
    params.cache_ram_mib = 0  # else up to 8 GiB of finished prompts; a slot keeps its own last one anyway
    params.sse_ping_interval = 1  # a sign of life; also how a client that left is noticed before the first token
    params.verbosity = 2  # warnings
    params.ui = False
    params.endpoint_slots = False
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
