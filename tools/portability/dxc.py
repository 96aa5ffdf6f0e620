#!/usr/bin/env python3
"""Shows HLSL to Microsoft's DXC as wgpu-hal 30 does, and takes every message for a failure, as it does.

dxc.py LIBRARY DIR...   compiles what DIR/list.tsv names (file, tab, entry point); DIR is called hlsl-6_0 after its shader model, or
                        hlsl-6_2-f16 where the device has 16-bit floats.

The library speaks COM, of which this needs three methods; nothing but Python's own ctypes is used for them.
"""

import ctypes
import sys
import time
import uuid
from pathlib import Path

COMPILER = "73e22d93-e6ce-47f3-b5bf-f0664f39c1b0"
ICOMPILER3 = "228b4687-5a6a-4730-900c-9702b2203f54"
IRESULT = "58346cda-dde7-4497-9461-6f87af5e0659"
IBLOB = "8ba5fb08-5195-40e2-ac58-0d989c3a0102"
OBJECT, ERRORS = 1, 2
UTF8 = 65001
# The library has no dxil.dll beside it here, so what it makes is not signed. It says so each time.
UNSIGNED = "warning: DXIL signing library (dxil.dll,libdxil.so) not found."


class Buffer(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("size", ctypes.c_size_t), ("encoding", ctypes.c_uint32)]


def guid(text):
    return (ctypes.c_ubyte * 16)(*uuid.UUID(text).bytes_le)


def method(this, slot, result, *types):
    """Method number `slot` of a COM object."""
    table = ctypes.cast(this, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents
    function = ctypes.CFUNCTYPE(result, ctypes.c_void_p, *types)(table[slot])
    return lambda *arguments: function(this, *arguments)


def release(this):
    method(this, 2, ctypes.c_uint32)()


def compile_one(compiler, source, arguments):
    """The messages, and the size of what was made."""
    argv = (ctypes.c_wchar_p * len(arguments))(*arguments)
    result = ctypes.c_void_p()
    pointer = ctypes.c_void_p
    types = (pointer, pointer, ctypes.c_uint32, pointer, pointer, pointer)
    buffer = Buffer(source, len(source), UTF8)
    status = method(compiler, 3, ctypes.c_int32, *types)(
        ctypes.addressof(buffer), ctypes.addressof(argv), len(arguments), None, guid(IRESULT), ctypes.addressof(result)
    )
    if status:
        return f"Compile: {status & 0xFFFFFFFF:#x}", 0

    def output(kind):
        blob = ctypes.c_void_p()
        get = method(result, 7, ctypes.c_int32, ctypes.c_uint32, pointer, pointer, pointer)
        if get(kind, guid(IBLOB), ctypes.addressof(blob), None) or not blob:
            return b""
        data = ctypes.string_at(method(blob, 3, pointer)() or 0, method(blob, 4, ctypes.c_size_t)())
        release(blob)
        return data

    messages = output(ERRORS).rstrip(b"\0").decode(errors="replace")
    size = len(output(OBJECT))
    release(result)
    return "\n".join(line for line in messages.splitlines() if not line.startswith(UNSIGNED)).strip(), size


def main():
    library, *folders = sys.argv[1:]
    compiler = ctypes.c_void_p()
    create = ctypes.CDLL(library).DxcCreateInstance
    if create(guid(COMPILER), guid(ICOMPILER3), ctypes.byref(compiler)):
        sys.exit(f"{library} makes no compiler")
    passed = failed = 0
    slowest = (0.0, "none")
    for folder in map(Path, folders):
        model = folder.name.removeprefix("hlsl-").removesuffix("-f16")
        f16 = ["-enable-16bit-types"] if folder.name.endswith("-f16") else []
        for line in (folder / "list.tsv").read_text().splitlines():
            name, entry = line.split("\t")
            arguments = [name, "-E", entry, "-T", f"cs_{model}", "-HV", "2018", "-no-warnings", "-Ges", *f16]
            begun = time.monotonic()
            messages, size = compile_one(compiler, (folder / name).read_bytes(), arguments)
            slowest = max(slowest, (time.monotonic() - begun, f"{model} {name}"))
            if messages or not size:
                failed += 1
                print(f"FAIL {model} {name}: {messages or 'nothing was made'}")
            else:
                passed += 1
    print(f"slowest: {slowest[1]}, {slowest[0]:.1f} s")
    print(f"dxc: {passed} passed, {failed} failed")
    sys.exit(bool(failed) or not passed)


main()
