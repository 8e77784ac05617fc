"""A worker without torch for the tests of supervision: does to itself what its jobs say."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

from backend.workers.beacon import Beacon
from backend.workers.protocol import Outbox, read_frame_blocking, take_stdio


def main() -> None:
    incoming, outgoing = take_stdio()
    outbox = Outbox(outgoing, lambda job, event: event, dict, every_s=0.05)
    if "--broken" in sys.argv:
        print("cannot import a pack", file=sys.stderr, flush=True)
        os._exit(7)
    outbox.message({"op": "hello"})
    while (frame := read_frame_blocking(incoming)) is not None:
        act(frame.message, outbox)
    os._exit(0)


def act(message: dict[str, Any], outbox: Outbox) -> None:
    if message["op"] == "call":
        ok = message["method"] == "echo"
        if message["method"] != "silence":
            outbox.message({"op": "reply", "rid": message["rid"], "ok": ok, "value": message["args"] if ok else "no such method"})
    if message["op"] != "run":
        return
    id, does = message["job"]["id"], message["job"]["does"]
    beacon = Beacon.inherited()
    assert beacon is not None
    beacon.set(id, does)
    if does == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif does == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif does == "exit":
        os._exit(3)
    elif does == "hang":  # hold the interpreter: no thread of this process runs any more
        ctypes.PyDLL(None).usleep(60_000_000)
    elif does == "noise":
        outbox._write(b"\xff" * 100)
    elif does == "print":
        print("x" * 100_000, end="", flush=True)
        print("\nlast words", flush=True)
        outbox.message({"op": "done", "id": id})
    elif does == "busy":
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    else:
        outbox.message({"op": "done", "id": id})


if __name__ == "__main__":
    main()
