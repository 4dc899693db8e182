"""Checks of the kernels' text: what the emulator cannot see, because C++ has neither address spaces nor Metal's bans.

`type_errors` hands the generated source to clang as "C++ for OpenCL", whose address spaces are as strict as Metal's.
`rule_breaches` looks for what DESIGN forbids and a compiler for Macs would accept, or refuse only there.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from emulator import HERE, signature

CLANG = next(
    (found for name in ("clang", *(f"clang-{n}" for n in range(22, 14, -1))) if (found := shutil.which(name))), None
)
OPTIONS = [
    *("-x", "clcpp", "-cl-std=clc++2021", "-target", "x86_64-unknown-linux-gnu", "-fsyntax-only", "-cl-no-stdinc"),
    *("-Xclang", "-cl-ext=-all,+cl_khr_fp16"),  # no fp64: doubles are errors, as on Apple GPUs
    *("-Werror", "-Wno-unknown-attributes", "-Wno-c++20-extensions"),
]
ATTRIBUTES = re.compile(r"\b(thread|threads|simdgroup|simdgroups|threadgroup|threadgroups)_(position|index|per)_\w+")


def type_errors(source: str) -> str:
    """What clang says of a generated source; nothing if it is well typed."""
    assert CLANG
    kernel = signature(source)
    parameters = re.search(r"template <([^>]*)>\n\[\[kernel\]\]", source)
    assert parameters, "a kernel without template parameters"
    values = [value.strip() for value in kernel.arguments[1:-1].split(",")]
    known = ""
    for parameter, value in zip(parameters[1].split(","), values, strict=True):
        kind, name = parameter.split()
        known += (
            f"typedef {value} {name};\n" if kind == "typename" else f"__constant constexpr {kind} {name} = {value};\n"
        )
    text = source.replace(parameters[0], known + "__kernel")
    text = re.sub(r"\ntemplate \[\[host_name.*?;\n", "\n", text, flags=re.S)
    text = re.sub(r" \[\[[^\]]*\]\]", "", text)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.clcpp"
        file.write_text(f'#include "{HERE / "address_spaces.h"}"\n#line 1 "kernel.metal"\n{text}\n')
        done = subprocess.run([CLANG, *OPTIONS, str(file)], capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def rule_breaches(text: str, is_header: bool = False) -> list[str]:
    """The rules that a kernel's source (or the shared header) breaks."""
    code = re.sub(r"//.*", "", text)
    rules = {
        "a double literal: write 1.0f": r"(?<![\w.])(\d+\.\d*|\.\d+|\d+[eE][-+]?\d+)(?:[eE][-+]?\d+)?(?![\w.])",
        "the type double": r"\bdouble\b",
        "round() is half away from zero in Metal: use rint()": r"\bround\s*\(",
        "a barrier that does not order threadgroup memory": r"threadgroup_barrier\((?!mem_flags::mem_threadgroup\))",
        "an 8-bit type, which is slow to load": r"\b(u?char|u?int8_t)\d?\b",
        "a pointer made of a buffer: index it": r"(device|constant)\s+[^;()]*\*",
        "fast math": r"\bfast::",
    }
    found = [rule for rule, pattern in rules.items() if re.search(pattern, code)]
    if is_header and ATTRIBUTES.search(code):
        found.append("MLX looks for thread attributes in the source only, not in the header")
    found += [f"{name} calls itself" for name in recursive(code)]
    return found + [f"{access} in a rolled loop over {variable}: write UNROLL" for access, variable in rolled(code)]


def rolled(code: str) -> list[tuple[str, str]]:
    """Where an array or vector of the thread's own is indexed by the variable of a loop that is not unrolled."""
    types = r"(?:float|half|u?int|simdgroup_\w+)"
    arrays = re.findall(rf"^\s*(?:const )?{types}[234]? (\w+)\[", code, re.M)
    vectors = re.findall(r"\b(?:float|half|u?int)[234] (\w+) = ", code)
    own = re.compile(rf"\b(?:{'|'.join([*arrays, *vectors, '-'])})((?:\[[^\]]*\])+)")
    loops: list[tuple[str, bool, int]] = []  # variable, unrolled, depth of its braces
    found, depth = [], 0
    steps = re.compile(rf"(UNROLL\s+)?\bfor \(\w+ (\w+) = [^{{]*\{{|[{{}}]|{own.pattern}")
    for step in steps.finditer(code):
        if step[2]:
            depth += 1
            loops.append((step[2], bool(step[1]), depth))
        elif step[3]:
            used = re.findall(r"[a-z]\w*", step[3])
            found += [(step[0], variable) for variable, unrolled, _ in loops if not unrolled and variable in used]
        else:
            depth += 1 if step[0] == "{" else -1
            loops = [loop for loop in loops if loop[2] <= depth]
    return found


def recursive(code: str) -> list[str]:
    """Functions that reach themselves through calls, which Metal does not allow."""
    bodies = {}
    for found in re.finditer(r"\b(\w+)\([^;{}()]*\)\s*\{", code):
        depth, end = 1, found.end()
        while depth and end < len(code):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            end += 1
        if found[1] not in ("if", "for", "while", "switch"):
            bodies[found[1]] = code[found.end() : end]
    calls = {name: set(re.findall(r"\b(\w+)\s*\(", body)) & bodies.keys() for name, body in bodies.items()}
    for _ in bodies:
        for reached in calls.values():
            for other in list(reached):
                reached |= calls[other]
    return sorted(name for name, reached in calls.items() if name in reached)
