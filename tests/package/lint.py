#!/usr/bin/env python3
"""lint.py SOURCE_DIR: what a reader should not meet in any file of the tree.

Leftover notes, paths of somebody's home, links to pages that are not there; in C also lines over
100 columns, macros that hide a return or a goto, and, but for tests, sources over 600 lines.
"""
import pathlib
import re
import subprocess
import sys

# Spelled so that this file passes its own check.
NOTES = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|(?i:st" r"ubs?))\b")
HOME = re.compile(r"(?<![\w.])/(home/\w+|root/\w+)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMENT = re.compile(r"/\*.*?(\*/|$)|//.*")
MACRO = re.compile(r"^[ \t]*#[ \t]*define\b(?:.*\\\n)*.*", re.M)
COLUMNS, LINES = 100, 600


def files_of(source):
    try:
        names = subprocess.run(["git", "-C", source, "ls-files", "-z", "--cached", "--others",
                                "--exclude-standard"], capture_output=True, check=True).stdout
        paths = [source / name.decode() for name in names.split(b"\0") if name]
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive
        builds = [cache.parent for cache in source.rglob("CMakeCache.txt")] + [source / ".git"]
        paths = [p for p in source.rglob("*") if not any(map(p.is_relative_to, builds))]
    return sorted(p for p in paths if p.is_file() and not p.is_symlink())


def problems_of(path, text, testing):
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in (("note left behind", NOTES), ("path of a home", HOME)):
            match = pattern.search(line)
            if match:
                yield f"{number}: {what}: {match.group(0)}"
        if path.suffix in (".c", ".h", ".cc") and len(line) > COLUMNS:
            yield f"{number}: {len(line)} columns"
    if path.suffix == ".c" and text.count("\n") > LINES and not testing:
        yield f"{text.count(chr(10))} lines"
    if path.suffix in (".c", ".h", ".cc"):
        for macro in MACRO.finditer(text):
            if re.search(r"\b(return|goto)\b", COMMENT.sub("", macro.group(0))):
                yield f"{text.count(chr(10), 0, macro.start()) + 1}: a macro hides a jump"
    if path.suffix == ".md":
        for target in LINK.findall(text):
            if "://" not in target and not target.startswith(("#", "mailto:")):
                if not (path.parent / target.split("#")[0]).exists():
                    yield f"broken link: {target}"


def main():
    source = pathlib.Path(sys.argv[1]).resolve()
    checked = count = 0
    for path in files_of(source):
        try:
            text = path.read_text()
        except UnicodeDecodeError:  # data
            continue
        checked += 1
        for problem in problems_of(path, text, path.is_relative_to(source / "tests")):
            count += 1
            print(f"{path.relative_to(source)}:{problem}")
    print(f"{checked} files, {count} problems")
    return 1 if count or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
