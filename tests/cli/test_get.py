import os
import pty
import unittest

import support
from support import StoreTest, random_bytes


class TestGet(StoreTest):
    def setUp(self):
        super().setUp()
        self.small = b"text\n" * 10
        self.large = random_bytes(3_000_000)
        self.small_id = self.put(self.small)
        self.large_id = self.put(self.large)

    def test_get__writes_to_standard_output(self):
        self.assertEqual(self.get(self.small_id), self.small)
        self.assertEqual(self.get(self.large_id, "-o", "-"), self.large)

    def test_get__takes_short_and_upper_case_ids(self):
        self.assertEqual(self.get(self.small_id[:8]), self.small)
        self.assertEqual(self.get(self.small_id.upper()), self.small)
        self.assertEqual(self.get(self.small_id[:9].upper()), self.small)

    def test_get__ranges(self):
        for data, identity in ((self.small, self.small_id), (self.large, self.large_id)):
            for offset, length in ((0, 0), (0, 1), (7, 11), (len(data) - 1, 1), (len(data), 5),
                                   (len(data) - 3, 100), (1 << 40, 5), (65535, 65538)):
                self.assertEqual(self.get(identity, f"--offset={offset}", f"--length={length}"),
                                 data[offset:offset + length])
        self.assertEqual(self.get(self.large_id, "--offset=1M"), self.large[1 << 20:])
        self.assertEqual(self.get(self.large_id, "--length=1K"), self.large[:1024])

    def test_get__output_file_appears_whole(self):
        path = self.path("out")
        self.get(self.large_id, "-o", path)
        self.assertEqual(open(path, "rb").read(), self.large)
        self.get(self.small_id, "-o", path)
        self.assertEqual(open(path, "rb").read(), self.small)
        self.assertEqual(sorted(os.listdir(self.dir)), ["out", "store"])

    def test_get__output_file_has_the_usual_mode(self):
        old = os.umask(0o027)
        self.addCleanup(os.umask, old)
        self.get(self.small_id, "-o", self.path("out"))
        self.assertEqual(os.stat(self.path("out")).st_mode & 0o777, 0o640)

    def test_get__output_through_a_link_replaces_the_file(self):
        target = self.file("target", b"old")
        os.symlink("target", self.path("link"))
        self.get(self.small_id, "-o", self.path("link"))
        self.assertTrue(os.path.islink(self.path("link")))
        self.assertEqual(open(target, "rb").read(), self.small)

    def test_get__output_to_a_device(self):
        self.get(self.large_id, "-o", "/dev/null")
        self.get(self.large_id, "-o", "/dev/full", code=support.NO_SPACE,
                 says=["/dev/full", "No space left"])

    def test_get__failure_leaves_the_old_file(self):
        path = self.file("out", b"precious")
        self.get("0" * 64, "-o", path, code=support.NOT_FOUND, says=["0" * 64])
        self.assertEqual(open(path, "rb").read(), b"precious")
        self.assertEqual(sorted(os.listdir(self.dir)), ["out", "store"])

    def test_get__bad_targets(self):
        with self.unchanged():
            self.get(self.small_id, "-o", self.dir, code=support.FAILED,
                     says=[self.dir, "Is a directory"])
            gone = self.path("gone", "out")
            self.get(self.small_id, "-o", gone, code=support.FAILED, says=[gone, "No such file"])
            name = self.file("file", b"")
            self.get(self.small_id, "-d", name, code=support.FAILED, says=name)

    def test_get__several_ids_into_a_directory(self):
        where = self.path("many")
        lines = self.run_json("get", "-d", where, self.small_id[:10], self.large_id)
        self.assertEqual([line["bytes"] for line in lines], [len(self.small), len(self.large)])
        self.assertEqual(sorted(os.listdir(where)), sorted([self.small_id, self.large_id]))
        self.assertEqual(open(os.path.join(where, self.large_id), "rb").read(), self.large)

    def test_get__one_missing_id_does_not_stop_the_others(self):
        where = self.path("many")
        self.run_command("get", "-d", where, "f" * 64, self.small_id, code=support.NOT_FOUND,
                         says="f" * 64)
        self.assertEqual(os.listdir(where), [self.small_id])

    def test_get__usage(self):
        with self.unchanged():
            self.run_command("get", code=support.USAGE, says="no id given")
            self.run_command("get", self.small_id, self.large_id, code=support.USAGE, says="-d")
            self.run_command("get", "-o", "x", "-d", "y", self.small_id, code=support.USAGE)
            self.run_command("--json", "get", self.small_id, code=support.USAGE, says="-o or -d")
            self.get(self.small_id, "--offset=-1", code=support.USAGE, says="-1")
            self.get(self.small_id, "--length=99999999999999999999", code=support.USAGE)

    def on_terminal(self, *args):
        master, slave = pty.openpty()
        process = self.start("get", *args, stdout=slave)
        os.close(slave)
        seen = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece
        os.close(master)
        err = process.communicate(timeout=support.TIMEOUT)[1]
        return process.returncode, seen, err

    def test_get__binary_is_not_written_to_a_terminal(self):
        code, seen, err = self.on_terminal(self.large_id)
        self.assertEqual((code, seen), (support.USAGE, b""))
        self.assertIn(b"terminal", err)
        code, seen, _ = self.on_terminal(self.small_id)
        self.assertEqual((code, seen.replace(b"\r\n", b"\n")), (0, self.small))
        identity = self.put(b"\x1b[31mred")
        self.assertEqual(self.on_terminal(identity)[0], support.USAGE)
        self.assertEqual(self.on_terminal("-f", identity)[:2], (0, b"\x1b[31mred"))

    def test_get__denied_target(self):
        nobody = support.as_nobody()
        os.chmod(self.dir, 0o755)
        own = self.path("own")
        os.mkdir(own)
        os.chown(own, support.NOBODY, support.NOBODY)
        store = os.path.join(own, "store")
        self.run_command("init", store, prefix=nobody)
        out = self.run_command("-C", store, "put", "-", stdin=b"x", prefix=nobody)
        target = self.path("target")
        self.run_command("-C", store, "get", "-o", target, out.split()[0], prefix=nobody,
                         code=support.FAILED, says=[target, "Permission denied"])
        self.assertFalse(os.path.exists(target))


if __name__ == "__main__":
    support.main()
