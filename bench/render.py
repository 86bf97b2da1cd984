#!/usr/bin/env python3
"""Writes the tables of docs/benchmarks.md from the JSON that bench/run and bench/ingest.sh made.

Text between <!-- begin:NAME --> and <!-- end:NAME --> is replaced; a section without results is
left as it is. Figures are medians over the rounds. A ratio is taken within each round, ingot
beside the peer that was measured next to it, and the median of those is shown.
"""
import argparse
import glob
import json
import os
import re
import statistics
import sys

ROUND = re.compile(r"-r(\d+)\.json$")
UNIT_US = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
DIGESTS = (("blake3", "BLAKE3"), ("sha256", "SHA-256"), ("xxh3_128", "XXH3-128"))
SIZES = (1024, 8192, 65536, 1048576)


class Results:
    """Everything measured: entries[name][round], commands[group][round][command]."""

    def __init__(self, directories):
        self.entries = {}
        self.contexts = []
        self.commands = {}
        self.sources = []
        rounds = {}
        for directory in directories:
            for path in sorted(glob.glob(os.path.join(directory, "*.json"))):
                match = ROUND.search(path)
                with open(path, encoding="utf-8") as file:
                    document = json.load(file)
                if match is None:
                    self.sources.append(document)
                    continue
                key = (directory, int(match.group(1)))
                number = rounds.setdefault(key, len(rounds))
                if "benchmarks" in document:
                    self.add_benchmarks(number, document)
                else:
                    group = ROUND.sub("", os.path.basename(path))
                    timed = {r["command"]: r for r in document["results"]}
                    self.commands.setdefault(group, {})[number] = timed

    def add_benchmarks(self, number, document):
        self.contexts.append(document["context"])
        for entry in document["benchmarks"]:
            if entry["run_type"] != "iteration":
                continue
            if number in self.entries.setdefault(entry["name"], {}):
                sys.exit(f"{entry['name']}: measured twice in one round")
            self.entries[entry["name"]][number] = entry

    def has(self, name):
        return name in self.entries

    def median(self, name, field):
        return statistics.median(e[field] for e in self.entries[name].values())

    def median_us(self, name, field):
        return statistics.median(
            e[field] * UNIT_US[e["time_unit"]] for e in self.entries[name].values())

    def spread(self, name, field):
        values = [e[field] for e in self.entries[name].values()]
        middle = statistics.median(values)
        return (max(values) - min(values)) / middle if middle else 0.0

    def ratio(self, name, other, field):
        """name / other, round by round; None where no round has both."""
        ours, theirs = self.entries[name], self.entries[other]
        ratios = [ours[r][field] / theirs[r][field]
                  for r in ours if r in theirs and theirs[r][field]]
        return statistics.median(ratios) if ratios else None

    def merged(self):
        """One document that compare.py reads: rounds are repetitions."""
        benchmarks = []
        for family, (name, rounds) in enumerate(sorted(self.entries.items())):
            for index, number in enumerate(sorted(rounds)):
                benchmarks.append({**rounds[number], "name": name, "family_index": family,
                                   "per_family_instance_index": 0, "repetitions": len(rounds),
                                   "repetition_index": index})
        return {"context": self.contexts[0], "benchmarks": benchmarks}


# ---- Text ----------------------------------------------------------------------------------


def number(value):
    """Three significant digits, thousands grouped."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def duration(microseconds):
    if microseconds >= 1e6:
        return f"{number(microseconds / 1e6)} s"
    if microseconds >= 1e3:
        return f"{number(microseconds / 1e3)} ms"
    return f"{number(microseconds)} µs" if microseconds >= 1 else f"{microseconds * 1e3:.0f} ns"


def megabytes(value):
    return f"{number(value / 1e6)} MB"


def ratio_text(value):
    return "–" if value is None else f"{number(value)}×"


def table(header, rows):
    if not rows:
        return None
    lines = ["| " + " | ".join(header) + " |",
             "|" + "|".join(["---"] + ["---:"] * (len(header) - 1)) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def joined(parts):
    kept = [f"{title}\n\n{text}" if title else text for title, text in parts if text]
    return "\n\n".join(kept) or None


def versus(results, rows):
    """Rows of (label, name); ratios are of the first row to each other one."""
    rows = [(label, name) for label, name in rows if results.has(name)]
    if not rows:
        return None
    first = rows[0][1]
    out = []
    for label, name in rows:
        ratio = "1" if name == first else ratio_text(
            results.ratio(first, name, "items_per_second"))
        # An operation may be a batch: processor time per wall time, times the time an object.
        busy = results.median_us(name, "cpu_time") / results.median_us(name, "real_time")
        cpu = busy * 1e6 / results.median(name, "items_per_second")
        out.append([label, number(results.median(name, "items_per_second")), ratio,
                    *(duration(results.median(name, f)) for f in ("p50_us", "p99_us", "p999_us")),
                    duration(cpu), f"±{50 * results.spread(name, 'items_per_second'):.0f} %"])
    ours = rows[0][0]
    return table(["", "objects/s", f"{ours} ÷ this", "p50", "p99", "p99.9", "CPU/object",
                  "spread"], out)


# ---- Sections ------------------------------------------------------------------------------


def machine(results):
    if not results.contexts:
        return None
    first = results.contexts[0]
    dates = sorted(c["date"] for c in results.contexts)
    loads = [c["load_avg"][0] for c in results.contexts if c["load_avg"]]
    versions = {c["subject"]: c["subject_version"] for c in results.contexts}
    rounds = {len(r) for r in results.entries.values()}
    caches = ", ".join(f"L{c['level']} {c['type'].lower()} {c['size'] // 1024} KiB"
                       for c in first["caches"])
    rows = [["Measured", dates[0] + (f" to {dates[-1]}" if dates[-1] != dates[0] else "")],
            ["Processor", f"{first.get('cpu_model', 'unknown')}, {first['num_cpus']} CPUs, "
                          f"{first['mhz_per_cpu']} MHz"],
            ["Caches", caches or "unknown"],
            ["Memory", f"{first.get('memory_gib', '?')} GiB"],
            ["Kernel", first.get("kernel", "unknown")],
            ["File system", first.get("file_system", "unknown")],
            ["Build", first["library_build_type"]],
            ["Rounds", " to ".join(str(n) for n in sorted({min(rounds), max(rounds)}))],
            ["Load average while measuring", f"{min(loads):.2f} to {max(loads):.2f}"
             if loads else "unknown"]]
    rows += [[subject, version] for subject, version in sorted(versions.items())]
    for source in results.sources:
        rows += [[tool, version] for tool, version in source["tools"].items() if version]
    return table(["", ""], [[row[0], row[1].replace("|", "/")] for row in rows]).replace(
        "---:", "---")


def same_case(case, subjects):
    return [(label, f"{subject}/{case}") for label, subject in subjects]


WRITERS = (("ingot", "ingot"), ("RocksDB", "rocksdb"), ("RocksDB, blob files", "rocksdb_blob"),
           ("LMDB", "lmdb"), ("a file an object, BLAKE3", "files"),
           ("a file an object, SHA-256", "files_sha256"))


def durable(results):
    return joined((f"{'One writer' if n == 1 else f'{n} writers'}:",
                   versus(results, same_case(f"put_durable/4096/threads:{n}", WRITERS)))
                  for n in (1, 850))


def scale(results):
    return versus(results, [(f"{n} writer{'s' if n > 1 else ''}",
                             f"ingot/put_durable/4096/threads:{n}")
                            for n in (1, 2, 16, 64, 256, 850)])


def batches(results):
    parts = [(f"Batches of {n}, one caller (latencies are a batch's):",
              versus(results, same_case(f"put_batch/4096/{n}", WRITERS))) for n in (64, 256)]
    parts.append(("The queue, one submitting thread (latencies from submit to reap):",
                  versus(results, [("1,024 outstanding",
                                    "ingot/put_queue/4096/outstanding:1024")])))
    return joined(parts)


def relaxed(results):
    return joined((f"{'One writer' if n == 1 else f'{n} writers'}:",
                   versus(results, same_case(f"put_relaxed/4096/threads:{n}", WRITERS)))
                  for n in (1, 850))


def duplicates(results):
    return versus(results, [
        (f"{kind}, {n} writer{'s' if n > 1 else ''}", f"ingot/{case}/4096/threads:{n}")
        for kind, case in (("durable", "put_duplicate"), ("relaxed", "put_duplicate_relaxed"))
        for n in (1, 850)])


READS = (
    ("Bytes in memory, handed out without a copy", (
        ("ingot, memory cache, pinned view", "ingot/get_view"),
        ("LMDB, memory map", "lmdb/get_view"),
        ("RocksDB, block cache, pinned", "rocksdb/get_cached"))),
    ("Bytes in memory, copied to the caller", (
        ("ingot, memory cache", "ingot/get_copy"), ("LMDB", "lmdb/get_copy"),
        ("a file an object, page cache, unverified", "files/get_copy"))),
    ("Files in the page cache, own cache off, verified", (
        ("ingot, BLAKE3", "ingot/get_verified"), ("LMDB + BLAKE3", "lmdb/get_verified"),
        ("RocksDB, block checksum", "rocksdb/get_verified"),
        ("RocksDB, blob checksum", "rocksdb_blob/get_verified"),
        ("a file an object + BLAKE3", "files/get_verified"),
        ("a file an object + SHA-256", "files_sha256/get_verified"))),
    ("An id that is not there", (
        ("ingot", "ingot/get_miss"), ("LMDB", "lmdb/get_miss"),
        ("RocksDB, Bloom filter", "rocksdb/get_miss"), ("files", "files/get_miss"))),
    ("Only whether it is there", (
        ("present, in memory", "ingot/has_present"),
        ("present, memory cache off", "ingot/has_present_uncached"),
        ("absent", "ingot/has_absent"))))


def gets(results):
    return joined(
        (f"{title}, {n} thread{'s' if n > 1 else ''}:",
         versus(results, [(label, f"{name}/4096/threads:{n}") for label, name in rows]))
        for title, rows in READS for n in (1, 2))


def digest(results):
    rows = []
    for size in SIZES:
        row = [f"{size:,} B"]
        for key, _ in DIGESTS:
            name = f"digest/{key}/{size}"
            if not results.has(name):
                return None
            rate = results.median(name, "bytes_per_second") / 1e9
            row.append(f"{duration(results.median_us(name, 'real_time'))} ({rate:.2f} GB/s)")
        row.append(ratio_text(results.ratio(f"digest/sha256/{size}", f"digest/blake3/{size}",
                                            "real_time")))
        rows.append(row)
    return table(["Input", *(label for _, label in DIGESTS), "SHA-256 ÷ BLAKE3, time"], rows)


def restart(results):
    rows = []
    for label, case in (("closed, files in the page cache", "closed"),
                        ("closed, files dropped from the page cache", "cold"),
                        ("ended without close", "killed")):
        name = f"ingot/restart/{case}"
        if results.has(name):
            rows.append([label, number(results.median(name, "objects")),
                         duration(results.median_us(name, "real_time")),
                         duration(results.median(name, "first_get_us")),
                         megabytes(results.median(name, "rss_opened_bytes")),
                         megabytes(results.median(name, "hwm_bytes")),
                         megabytes(results.median(name, "log_bytes"))])
    return table(["Before", "objects", "open", "first get", "resident after open",
                  "most resident", "log"], rows)


def command_table(results, group, work_bytes):
    rounds = results.commands.get(group)
    if not rounds:
        return None
    names = list(next(iter(rounds.values())))
    rows = []
    for name in names:
        timed = {r: t[name] for r, t in rounds.items() if name in t}
        mean = statistics.median(t["mean"] for t in timed.values())
        ratio = statistics.median(t["mean"] / rounds[r][names[0]]["mean"]
                                  for r, t in timed.items() if names[0] in rounds[r])
        cpu = statistics.median(t["user"] + t["system"] for t in timed.values())
        rows.append([name, duration(mean * 1e6), f"{work_bytes / mean / 1e6:,.0f} MB/s",
                     "1" if name == names[0] else ratio_text(ratio), duration(cpu * 1e6)])
    return table(["Command", "time", "rate", f"speed: {names[0]} ÷ this", "CPU"], rows)


def commands(results):
    if not results.sources:
        return None
    source = results.sources[0]
    size = source["file_bytes"]
    return joined((
        (f"One file of {megabytes(size)}, in:", command_table(results, "file-in", size)),
        ("The same, out:", command_table(results, "file-out", size)),
        (f"A tree of {source['tree_files']:,} files ({source['tree_distinct']:,} distinct), "
         f"{megabytes(source['tree_bytes'])}, in:",
         command_table(results, "tree-in", source["tree_bytes"]))))


SECTIONS = {"machine": machine, "durable": durable, "scale": scale, "batches": batches,
            "relaxed": relaxed, "duplicates": duplicates, "gets": gets, "digest": digest,
            "restart": restart, "commands": commands}


def replace_section(text, name, body):
    pattern = re.compile(rf"(<!-- begin:{name} -->\n).*?(<!-- end:{name} -->)", re.S)
    if len(pattern.findall(text)) != 1:
        sys.exit(f"section {name} is not there exactly once")
    return pattern.sub(lambda match: match.group(1) + body + "\n" + match.group(2), text)


def write_whole(path, text):
    temporary = path + ".new"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def main():
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs",
                           "benchmarks.md")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", action="append", required=True, metavar="DIR",
                        help="a directory of JSON; may be given several times")
    parser.add_argument("--document", default=default, metavar="FILE")
    parser.add_argument("--merge", metavar="FILE",
                        help="also write all benchmarks as one JSON file for compare.py")
    arguments = parser.parse_args()
    results = Results(arguments.results)
    if not results.entries and not results.commands:
        sys.exit("no results there")
    with open(arguments.document, encoding="utf-8") as file:
        text = file.read()
    for name, section in SECTIONS.items():
        body = section(results)
        if body is None:
            print(f"{name}: no results, left as it is", file=sys.stderr)
        else:
            text = replace_section(text, name, body)
    write_whole(arguments.document, text)
    if arguments.merge and results.entries:
        write_whole(arguments.merge, json.dumps(results.merged(), indent=1) + "\n")


if __name__ == "__main__":
    main()
