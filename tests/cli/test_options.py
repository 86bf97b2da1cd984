import json
import os
import re
import shutil
import subprocess
import unittest

import support
from support import CommandTest, StoreTest

COMMANDS = ("init", "put", "get", "has", "stat", "ls", "ref", "unref", "batch", "gc", "check",
            "repair", "stats", "doctor")
MAN = os.environ.get("INGOT_MAN", "")


class TestOptions(CommandTest):
    def test_version(self):
        out = self.run_command("--version").decode()
        self.assertRegex(out, r"^ingot \d+\.\d+\.\d+ \(format \d+\)\n$")
        self.assertEqual(self.run_command("ls", "--version").decode(), out)

    def test_help__names_every_command(self):
        out = self.run_command("--help").decode()
        for command in COMMANDS:
            self.assertRegex(out, rf"(?m)^  {command} ")

    def test_help__of_each_command(self):
        for command in COMMANDS:
            out = self.run_command(command, "--help").decode()
            self.assertIn(f"Usage: ingot {command}", out)
            self.assertIn("--store=STORE", out)

    def test_usage__errors_name_the_fault(self):
        for words, says in (((), "no command"), (("frobnicate",), "'frobnicate'"),
                            (("--bogus", "ls"), "--bogus"), (("ls", "--bogus"), "--bogus"),
                            (("-C",), "-C"), (("--progress=often", "ls"), "'often'"),
                            (("--wait=5", "ls"), "'5'"), (("-q", "-v", "ls"), "-q and -v"),
                            (("--json=yes", "ls"), "--json"),
                            (("ls",) + ("--prefix=00",) * 100, "too many options")):
            self.run_command(*words, code=support.USAGE, says=says)

    def test_usage__no_store_named(self):
        del self.environment["INGOT_STORE"]
        for words in (("ls",), ("init",), ("doctor",), ("repair", "--rebuild-index"),
                      ("get", "abcd")):
            self.run_command(*words, code=support.USAGE, says="INGOT_STORE")
        self.run_command("ls", env={"INGOT_STORE": ""}, code=support.USAGE, says="INGOT_STORE")

    def test_no_store__every_command_says_so(self):
        os.mkdir(self.path("empty"))
        name = self.file("file", b"x")
        for where in (self.path("gone"), self.path("empty"), name):
            for words in (("put", "-"), ("get", "abcd"), ("has", "abcd"), ("stat", "abcd"), ("ls",),
                          ("ref", "abcd"), ("unref", "abcd"), ("batch",), ("gc",), ("gc", "-n"),
                          ("check",), ("repair", "--rebuild-index"), ("stats",)):
                self.run_command("-C", where, *words, code=support.NO_STORE, says=where)
        self.assertEqual(os.listdir(self.path("empty")), [])
        self.assertFalse(os.path.exists(self.path("gone")))
        lines = self.run_json("-C", self.path("gone"), "stats", code=support.NO_STORE, says="gone")
        self.assertEqual((lines[0]["message_type"], lines[0]["exit_code"]), ("error", 10))

    @unittest.skipUnless(MAN, "INGOT_MAN does not name the manual page")
    def test_manual__has_every_option_and_command(self):
        text = open(MAN, encoding="utf-8").read()
        for command in COMMANDS:
            self.assertRegex(text, rf"Cm .*\b{command}\b")
            helped = self.run_command(command, "--help").decode()
            for option in re.findall(r"--([a-z0-9-]+)", helped):
                self.assertIn(f"Fl -{option}", text, command)
        for code in (0, 1, 2, 3, 10, 11, 12, 13, 14, 15):
            self.assertIn(f"\n.It {code}\n", text)

    @unittest.skipUnless(MAN and shutil.which("mandoc"), "mandoc is not installed")
    def test_manual__is_well_formed(self):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "style", MAN], capture_output=True)
        found = [line for line in done.stdout.decode().splitlines() if "mandoc.db" not in line]
        self.assertEqual(found, [])


class TestCommonOptions(StoreTest):
    def test_options__before_or_after_the_command(self):
        self.put(b"x")
        self.environment["INGOT_STORE"] = self.path("gone")
        first = self.run_command("-C", self.store, "--json", "ls")
        self.assertEqual(self.run_command("ls", "--store", self.store, "--json"), first)
        self.assertEqual(self.run_command("ls", "-C", self.store, "--json"), first)
        json.loads(first)
        self.environment["INGOT_STORE"] = self.store

    def test_options__store_given_outranks_the_environment(self):
        self.run_command("ls", env={"INGOT_STORE": self.path("gone")}, code=support.NO_STORE,
                         says="gone")
        self.run_command("-C", self.store, "ls", env={"INGOT_STORE": self.path("gone")})

    def test_progress__only_where_it_is_wanted(self):
        path = self.file("f", b"x")
        self.run_command("put", path)
        self.run_command("--progress=never", "put", path)
        self.run_command("--progress=always", "put", path, says="put: 1 done")


if __name__ == "__main__":
    support.main()
