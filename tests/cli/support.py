"""What the tests of the command share: a store of their own, running the command, and the
assertion that a failed command left the store as it was."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import unittest

INGOT = os.environ.get("INGOT", "ingot")
NOBODY = 65534
TIMEOUT = 120

DONE, FAILED, USAGE, SOURCES = 0, 1, 2, 3
NO_STORE, LOCKED, WRONG_KEY, NOT_FOUND, CORRUPT, NO_SPACE = 10, 11, 12, 13, 14, 15


def random_bytes(size, seed=1):
    return random.Random(seed).randbytes(size)


def is_root():
    return os.geteuid() == 0


class CommandTest(unittest.TestCase):
    """A directory that goes away afterwards, with room for a store in it."""

    init_options = ("--segment-size=4M",)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="ingot-cli-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.store = os.path.join(self.dir, "store")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("INGOT_")}
        self.environment["INGOT_STORE"] = self.store
        self.environment["LC_ALL"] = "C.UTF-8"

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def file(self, name, data=b""):
        where = self.dir if isinstance(name, str) else os.fsencode(self.dir)
        path = os.path.join(where, name)
        with open(path, "wb") as out:
            out.write(data)
        return path

    def start(self, *args, env=None, prefix=(), **more):
        environment = dict(self.environment)
        environment.update(env or {})
        for pipe in ("stdin", "stdout", "stderr"):
            more.setdefault(pipe, subprocess.PIPE)
        process = subprocess.Popen([*prefix, INGOT, *args], env=environment, **more)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.communicate()

    def run_command(self, *args, code=DONE, stdin=b"", says=None, **more):
        """Runs to the end; asserts the exit code and what standard error says."""
        process = self.start(*args, **more)
        out, err = process.communicate(stdin, timeout=TIMEOUT)
        self.assertEqual(process.returncode, code, f"{args}: {out!r} {err!r}")
        for text in [says] if isinstance(says, str) else says or []:
            self.assertIn(text, err.decode("utf-8", "replace"))
        if says is None and code == DONE:
            self.assertEqual(err, b"", args)
        return out

    def run_json(self, *args, **more):
        """The lines of standard output, each of which must be a JSON object with a type."""
        lines = [json.loads(x) for x in self.run_command("--json", *args, **more).splitlines()]
        for line in lines:
            self.assertIn("message_type", line)
        return lines

    def put(self, data):
        return self.run_command("put", "-", stdin=data).split()[0].decode()

    def get(self, object_id, *options, **more):
        return self.run_command("get", *options, object_id, **more)

    def refs(self, object_id):
        return self.run_json("stat", object_id)[0]["refs"]

    def objects(self):
        keys = ("id", "size", "refs")
        return [tuple(line[key] for key in keys) for line in self.run_json("ls")]

    @contextlib.contextmanager
    def unchanged(self):
        """What happens inside leaves the same objects and counts, and nothing to complain of."""
        before = self.objects()
        yield
        self.assertEqual(self.objects(), before)
        self.run_command("check", "--read-data")


class StoreTest(CommandTest):
    """With a store in it, which must be clean at the end of every test that does not damage it."""

    damaged = False

    def setUp(self):
        super().setUp()
        self.run_command("init", *self.init_options)

    def tearDown(self):
        if not self.damaged and os.path.exists(self.store):
            self.run_command("check", "--read-data")

    @contextlib.contextmanager
    def held_for_writing(self):
        """Another process has the store open while the inside runs."""
        holder = self.start("batch")
        holder.stdin.write(b"has " + b"0" * 64 + b"\n")
        holder.stdin.flush()
        self.assertEqual(holder.stdout.readline(), b"ok no\n")
        try:
            yield holder
        finally:
            holder.communicate(timeout=TIMEOUT)
        self.assertEqual(holder.returncode, DONE)


def as_nobody():
    """The words in front of a command that make it run as another user, or a reason to skip."""
    if not is_root():
        raise unittest.SkipTest("needs root to become another user")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise unittest.SkipTest("setpriv is not installed")
    words = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    tried = subprocess.run([*words, INGOT, "--version"], capture_output=True)
    if tried.returncode != 0:
        raise unittest.SkipTest("the command cannot be run by another user where it lies")
    return words


def main():
    unittest.main(module="__main__")
