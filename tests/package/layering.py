#!/usr/bin/env python3
"""layering.py SOURCE_DIR BUILD_DIR: the layers point one way, and the compiler says so.

Takes each module's include flags from compile_commands.json and tries every internal header with
them. A module must see its own headers (the control), and none of a layer above or beside it.
What the compiler cannot refuse is looked for in the text: includes that climb out of the module,
and rocksdb/c.h anywhere but in index/.
"""
import json
import pathlib
import re
import shlex
import subprocess
import sys

# Lowest first; modules in one row do not see each other. The command sees the public header only.
LAYERS = [["core/base"], ["integrity"], ["cache", "index"], ["dedup"], ["core"], ["snapshot"]]
PUBLIC_ONLY = "tools"
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def flags_of_modules(source, build):
    """Directory of a module -> compiler and flags of one of its sources."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if path.suffix != ".c" or not path.is_relative_to(source):
            continue
        words = shlex.split(entry["command"])
        keep = [words[0]]
        for i, word in enumerate(words[1:], 1):
            if word.startswith(("-I", "-D", "-std")):
                keep.append(word)
            elif word == "-isystem":
                keep += [word, words[i + 1]]
        found.setdefault(str(path.parent.relative_to(source)), keep)
    return found


def included(flags, module, header):
    """The file that `header` is from a source in `module`, or None, and the compiler's words."""
    run = subprocess.run([*flags, "-M", "-x", "c", "-"], text=True, cwd=module,
                         input=f'#include "{header}"\n', capture_output=True, check=False)
    if run.returncode != 0:
        return None, run.stderr
    words = run.stdout.replace("\\\n", " ").split()
    found = (module / word for word in words if word.endswith("/" + header) or word == header)
    return next((path.resolve() for path in found), None), run.stderr


def check_headers(source, modules, headers, complain):
    rank = {module: i for i, row in enumerate(LAYERS) for module in row}
    rank[PUBLIC_ONLY] = -1
    tried = 0
    for module in (m for m in rank if m in modules):
        for owner, names in headers.items():
            own = owner == module
            if not own and owner != PUBLIC_ONLY and rank[owner] < rank[module]:
                continue
            for name in names:
                tried += 1
                path, text = included(modules[module], source / module, name)
                visible = path == source / owner / name
                if own and not visible:
                    complain(f"{module} cannot include its own {name}\n{text}")
                if not own and visible:
                    complain(f"{module} can include {name} of {owner}")
    return tried


def check_text(source, complain):
    places = [m for row in LAYERS for m in row] + [PUBLIC_ONLY]
    for place in places:
        for path in sorted((source / place).glob("*.[ch]")):
            for _, name in INCLUDE.findall(path.read_text()):
                if ".." in pathlib.PurePath(name).parts:
                    complain(f"{path.relative_to(source)} climbs out of its module: {name}")
                if name.startswith("rocksdb/") and place != "index":
                    complain(f"{path.relative_to(source)} includes {name}; only index/ may")


def main():
    source, build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    problems = []
    modules = flags_of_modules(source, build)
    known = [m for row in LAYERS for m in row if (source / m / "CMakeLists.txt").exists()]
    for module in [*known, PUBLIC_ONLY]:
        if module not in modules:
            problems.append(f"no compile command for a source of {module}")
    headers = {m: sorted(p.name for p in (source / m).glob("*.h")) for m in [*known, PUBLIC_ONLY]}
    tried = check_headers(source, modules, headers, problems.append)
    check_text(source, problems.append)
    if tried < len(known):
        problems.append(f"only {tried} includes tried")
    for problem in problems:
        print(problem)
    print(f"{tried} includes tried in {len(modules)} directories, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
