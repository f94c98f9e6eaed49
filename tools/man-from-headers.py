#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""man-from-headers.py ROOT OUTPUT_DIRECTORY VERSION - writes one section-3 page for each function."""
import os, re, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from headers import LIBRARIES, functions, library_of, mapped


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"\b(naru_\w+)\(\)", r"\\fB\1\\fR(3)", text)
    text = re.sub(r"\b(naru-[a-z]+)\(7\)", r"\\fB\1\\fR(7)", text)
    return re.sub(r"^([.'])", r"\\&\1", text)


def body(lines):
    """Paragraphs, parameters and indented examples."""
    out, fill = [], False
    for line in lines:
        parameter = re.match(r"([a-z_]+(?:, [a-z_]+)*): (.*)", line)
        if not line:
            out += [".EE"] if fill else []
            fill = False
            if out and out[-1] != ".PP":
                out.append(".PP")
        elif line.startswith("  "):
            out += [] if fill else [".EX"]
            fill = True
            out.append(escape(line))
        elif parameter:
            out += [".TP", f"\\fI{parameter[1]}\\fR", escape(parameter[2])]
        else:
            if re.match(r"[A-Z][a-z]+( [a-z]+)?: ", line):
                out.append(".PP")
            out.append(escape(line))
    out += [".EE"] if fill else []
    while out and out[-1] == ".PP":
        out.pop()
    # .PP right before .TP or another .PP says nothing
    return [l for i, l in enumerate(out)
            if not (l == ".PP" and (i == 0 or out[i + 1:i + 2] in ([".TP"], [".PP"])))]


def errors(text):
    out = []
    for item in re.split(r";\s*(?![^()]*\))", text):
        codes = re.match(r"((?:-E[A-Z0-9]+(?:, (?=-E))?)+)[,:]?\s*(.*)", item, re.S)
        if codes:
            out += [".TP", f"\\fB{escape(codes[1])}\\fR", escape(codes[2] or "likewise")]
        else:
            out += [".PP", escape(item)]
    return out


def page(function, siblings, version):
    synopsis = re.sub(r"\s+", " ", function.prototype)
    out = [f'.TH {function.name} 3 "" "naru {version}" "naru"', ".SH NAME",
           f"{function.name} \\- {escape(function.summary)}", ".SH SYNOPSIS", ".nf",
           f"\\fB#include <{function.header}>\\fR", ".PP", f"\\fB{escape(synopsis)};\\fR", ".fi",
           ".PP", f"Link with \\fI\\-l{escape(library_of(function.header)[3:])}\\fR."]
    text = body(function.text)
    if text:
        out += [".SH DESCRIPTION"] + text
    out += [".SH RETURN VALUE", escape(function.parts.get("Returns", ""))]
    if "Errors" in function.parts:
        out += [".SH ERRORS", "A failure is a negative errno; \\fBnaru_why\\fR(3) gives its sentence."]
        out += errors(function.parts["Errors"])
        if "common ones" in function.parts["Errors"]:
            out += [".PP", "The common ones are listed in \\fBnaru\\fR(7) and in "
                    "\\fI<naru/common.h>\\fR."]
    out.append(".SH ATTRIBUTES")
    for part, meaning in (("Thread", "Threads"), ("Fork", "In a forked child"), ("Blocks", "Blocks")):
        out += [".TP", f"\\fB{meaning}\\fR", escape(function.parts.get(part, ""))]
    others = [n for n in siblings if n != function.name]
    if function.name != "naru_why" and "naru_why" not in others:
        others.append("naru_why")
    out += [".SH SEE ALSO"] + [f".BR {n} (3)," for n in others]
    out.append(".BR naru (7)")
    return "\n".join(out) + "\n"


def main():
    root, directory, version = sys.argv[1:]
    every = functions(root)
    wanted = {name for library in LIBRARIES for name in mapped(root, library)}
    for function in every:
        if function.name not in wanted:
            continue
        siblings = [f.name for f in every if f.header == function.header]
        with open(os.path.join(directory, function.name + ".3"), "w") as f:
            f.write(page(function, siblings, version))


main()
