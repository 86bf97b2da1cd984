#!/usr/bin/env python3
"""symbols.py HEADER LIBRARY: the shared library exports exactly the functions of the header, in
version node INGOT_0 and under the right SONAME, and each of them is documented.
"""
import pathlib
import re
import subprocess
import sys

NODE = "INGOT_0"
DECLARATION = re.compile(r"\bINGOT_API\b[^;{]*?\b(ingot_[a-z0-9_]+)\s*\(")


def declared(text):
    return {m.group(1): text.count("\n", 0, m.start()) for m in DECLARATION.finditer(text)
            if not text[: m.start()].rsplit("\n", 1)[-1].startswith("#")}


def undocumented(text, functions):
    """Those whose paragraph, up to the declaration, holds no comment at the start of a line."""
    lines = text.splitlines()
    for name, line in functions.items():
        first = line
        while first > 0 and lines[first - 1].strip():
            first -= 1
        if not any(re.match(r"(/\*| \*)", above) for above in lines[first:line]):
            yield name


def tool(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main():
    header, library = sys.argv[1:3]
    text = pathlib.Path(header).read_text()
    functions = declared(text)
    problems = [f"{name} has no doc comment" for name in undocumented(text, functions)]

    version = re.search(r"INGOT_VERSION_MAJOR (\d+)", text).group(1)
    soname = re.search(r"SONAME.*\[(.*)\]", tool("readelf", "-d", library))
    if soname is None or soname.group(1) != f"libingot.so.{version}":
        problems.append(f"SONAME is {soname and soname.group(1)}, not libingot.so.{version}")

    exported = set()
    for line in tool("nm", "-D", "--defined-only", library).splitlines():
        symbol, kind = line.split()[-1], line.split()[-2]
        if symbol == NODE and kind == "A":
            continue
        name, _, node = symbol.partition("@@")
        exported.add(name)
        if node != NODE:
            problems.append(f"{symbol} is not in version {NODE}")
    problems += [f"{name} is exported but not in the header" for name in exported - set(functions)]
    problems += [f"{name} is in the header but not exported" for name in set(functions) - exported]

    for problem in sorted(problems):
        print(problem)
    print(f"{len(functions)} functions declared, {len(exported)} exported, {len(problems)} problems")
    return 1 if problems or not functions else 0


if __name__ == "__main__":
    sys.exit(main())
