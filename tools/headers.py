# SPDX-License-Identifier: MIT
"""headers.py - reads the public headers: each function with its prototype and its comment's parts.

The form of a comment, as include/naru has it:

    /* name - summary
     *
     * Text. Lines that begin with `parameter:` describe parameters.
     *
     * Returns: ...
     * Errors: -ECODE what it means; -ECODE, -ECODE ...; the common ones.
     * Thread: any. Fork: works. Blocks: never. */
    NARU_API prototype;
"""
import os, re
from dataclasses import dataclass, field

# Each library, where it is built, and the headers of what it exports; libnaru has all the others.
LIBRARIES = {
    "libnaru": ("src", None),
    "libnaru-services": ("services", ("naru/health.h", "naru/reflection.h")),
}
PARTS = ("Returns", "Errors", "Thread", "Fork", "Blocks")
FUNCTION = re.compile(r"(?:/\*((?:(?!\*/).)*)\*/\n)?^(NARU_API\b[^;]*?\b(naru_\w+)\s*\([^;]*\));",
                      re.S | re.M)


@dataclass
class Function:
    name: str
    header: str
    prototype: str
    summary: str = ""
    text: list = field(default_factory=list)
    parts: dict = field(default_factory=dict)


def parse_comment(function, comment):
    lines = [re.sub(r"^ ?\* ?", "", line.strip("\n")).rstrip() for line in comment.strip().splitlines()]
    match = re.match(re.escape(function.name) + r" - (.+)", lines[0])
    if not match:
        return
    rest = lines[1:]
    function.summary = match[1]
    while rest and rest[0]:
        function.summary += " " + rest.pop(0)
    part = None
    for line in rest:
        start = re.match(r"(" + "|".join(PARTS) + r"): ", line)
        if start:
            part = start[1]
            function.parts[part] = line[start.end():]
        elif part and line:
            function.parts[part] += " " + line
        elif not part:
            function.text.append(line)
    # "Thread: one. Fork: works. Blocks: never." shares a line
    for shared in ("Thread", "Fork"):
        for later in ("Fork", "Blocks"):
            value = function.parts.get(shared, "")
            if f" {later}: " in value:
                function.parts[shared], function.parts[later] = value.split(f" {later}: ", 1)


def functions(root):
    """Every NARU_API function under root/include/naru, in the order of the files."""
    directory = os.path.join(root, "include/naru")
    found = []
    for header in sorted(os.listdir(directory)):
        if not header.endswith(".h"):
            continue
        with open(os.path.join(directory, header)) as f:
            text = f.read()
        for comment, prototype, name in FUNCTION.findall(text):
            function = Function(name, f"naru/{header}", re.sub(r"^NARU_API\s+", "", prototype))
            if comment:
                parse_comment(function, comment)
            found.append(function)
    return found


def library_of(header):
    """The library that exports what a header declares."""
    return next((name for name, (_, headers) in LIBRARIES.items() if headers and header in headers), "libnaru")


def mapped(root, library):
    """The names that a library's map exports."""
    with open(os.path.join(root, library + ".map")) as f:
        return re.findall(r"^\s*(naru_\w+);", f.read(), re.M)
