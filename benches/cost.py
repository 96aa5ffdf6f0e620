#!/usr/bin/env python3
"""cost.py MODEL PROGRAM [PROGRAM ...]: processor seconds a token of decoding and of reading a prompt, for several builds of killick.

Whole processes are measured, user and system time of all threads. A token's cost is the difference between a long and a short run,
divided by the tokens between them, so loading and compiling cancel out. Rounds of all programs are interleaved, and the least of
each kind of run counts: on a shared machine only ratios within one run of this script mean anything.

The driver is the environment's choice (VK_DRIVER_FILES, VK_ICD_FILENAMES). Arguments for killick follow the program after a comma:
  benches/cost.py model.gguf old/killick new/killick new/killick,--family,gpu
"""
import os
import resource
import subprocess
import sys

ROUNDS = int(os.environ.get("ROUNDS", "3"))
# (what, tokens of the prompt, tokens generated)
SHORT, LONG = ("short", 8, 8), ("long", 8, 40)
PROMPT, LONG_PROMPT = ("prompt", 72, 1), ("long prompt", 136, 1)


def killick(program, model, prompt, tokens):
    """The command by which a build of killick reads a prompt of so many words and writes so many tokens."""
    command = program.split(",")
    command[1:1] = ["generate", "the " * prompt, "--model", model, "--max-tokens", str(tokens), "--temperature", "0", "--stats"]
    return command


def run(command):
    """Processor seconds of a command and all that it starts, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout + done.stderr


def fields(text):
    """The lines of a run's statistics, by their first word."""
    return dict(line.split(None, 1) for line in text.splitlines() if len(line.split(None, 1)) == 2)


def main():
    model, programs = sys.argv[1], sys.argv[2:]
    least, ids, adapter = {}, {}, {}
    for _ in range(ROUNDS):
        for program in programs:
            for what, prompt, tokens in (SHORT, LONG, PROMPT, LONG_PROMPT):
                seconds, text = run(killick(program, model, prompt, tokens))
                least[program, what] = min(seconds, least.get((program, what), seconds))
                lines = fields(text)
                # A text that ends early would divide by tokens that were not made.
                if len(lines["ids"].split()) != tokens:
                    sys.exit(f"{program} made {len(lines['ids'].split())} tokens of {tokens}: {lines['ids']}")
                ids.setdefault(what, {})[program] = lines["ids"]
                adapter[program] = lines.get("adapter")
    for program in programs:
        decode = (least[program, "long"] - least[program, "short"]) / (LONG[2] - SHORT[2])
        prefill = (least[program, "long prompt"] - least[program, "prompt"]) / (LONG_PROMPT[1] - PROMPT[1])
        print(f"{program}\n  {adapter[program]}\n  decode {decode:.4f} core-s a token, prefill {prefill:.4f}")
    same = all(len(set(of.values())) == 1 for of in ids.values())
    print("all programs gave the same ids" if same else f"ids differ: {ids}")


if __name__ == "__main__":
    main()
