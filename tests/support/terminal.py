"""terminal.py STEPS PROGRAM ARGUMENT...: runs a program in a terminal of its own, for tests; prints what it wrote.

STEPS is a JSON list: {"send": text}, {"expect": regular expression, "seconds": most that it may take}, {"signal": number}. What an
expectation finds is looked for after what the one before found. A step that fails ends with status 1 and says which.
"""
import json
import os
import pty
import re
import select
import signal
import sys
import time

steps, command = json.loads(sys.argv[1]), sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], command)

written, looked = "", 0


def read(seconds):
    """What comes within so many seconds; False at the end."""
    global written
    if not select.select([terminal], [], [], seconds)[0]:
        return True
    try:
        part = os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side is gone
        return False
    written += part.decode(errors="replace")
    return bool(part)


def fail(why):
    os.kill(child, signal.SIGKILL)
    sys.exit(f"{why}; the terminal shows:\n{written}")


for step in steps:
    if "send" in step:
        text = step["send"].encode()
        # Little by little, and what it echoes is read meanwhile: a terminal holds only some thousand bytes.
        for at in range(0, len(text), 512):
            os.write(terminal, text[at : at + 512])
            read(0.01)
    elif "signal" in step:
        os.kill(child, step["signal"])
    else:
        end = time.monotonic() + step.get("seconds", 120)
        while (found := re.compile(step["expect"]).search(written, looked)) is None:
            if time.monotonic() > end:
                fail(f"{step} did not come")
            if not read(0.2) and re.compile(step["expect"]).search(written, looked) is None:
                fail(f"the program ended before {step}")
        looked = found.end()
end = time.monotonic() + 20
while read(0.2):
    if time.monotonic() > end:
        fail("the program did not end")
_, status = os.waitpid(child, 0)
print(written)
