import os
import stat
import unittest

import support
from support import CommandTest


def tree(root):
    found = []
    for where, dirs, files in os.walk(root):
        for name in sorted(dirs + files):
            path = os.path.join(where, name)
            info = os.lstat(path)
            data = open(path, "rb").read() if stat.S_ISREG(info.st_mode) else None
            found.append((path, info.st_mode, info.st_size, info.st_mtime_ns, data))
    return sorted(found, key=lambda entry: entry[0])


class TestInit(CommandTest):
    def test_init__makes_a_private_store(self):
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        out = self.run_command("init")
        self.assertIn(b"store made", out)
        self.assertEqual(os.stat(self.store).st_mode & 0o7777, 0o700)
        for where, dirs, files in os.walk(self.store):
            # The index's files have the modes that RocksDB gives them, behind a closed directory.
            inside = os.path.relpath(where, self.store).split(os.sep)[0] == "index"
            for name in dirs if inside else dirs + files:
                self.assertEqual(os.lstat(os.path.join(where, name)).st_mode & 0o077, 0, name)
        self.run_command("check", "--read-data")

    def test_init__again_is_a_no_op(self):
        self.run_command("init")
        before = tree(self.store)
        self.assertIn(b"already a store", self.run_command("init"))
        self.assertEqual(tree(self.store), before)

    def test_init__again_with_other_parameters_fails(self):
        self.run_command("init", "--segment-size=8M")
        before = tree(self.store)
        self.run_command("init", "--digest=sha256", code=support.FAILED,
                         says=["already a store", "blake3", self.store])
        self.run_command("init", "--segment-size=16M", code=support.FAILED, says="segment-size")
        self.run_command("init", "--large-min=64K", code=support.FAILED, says="large-min")
        self.assertEqual(tree(self.store), before)

    def test_init__takes_the_directory_as_an_argument(self):
        other = self.path("other")
        self.run_command("init", other)
        self.run_command("-C", other, "ls")
        self.run_command("ls", code=support.NO_STORE)
        self.run_command("-C", other, "init", self.store, code=support.USAGE, says=other)

    def test_init__refuses_what_exists(self):
        path = self.file("file", b"mine")
        self.run_command("init", path, code=support.FAILED, says=path)
        os.mkdir(self.path("full"))
        self.file("full/letter", b"mine")
        self.run_command("init", self.path("full"), code=support.FAILED, says=self.path("full"))
        self.assertEqual(os.listdir(self.path("full")), ["letter"])
        self.assertEqual(open(path, "rb").read(), b"mine")

    def test_init__takes_an_empty_directory(self):
        os.mkdir(self.store, 0o700)
        self.run_command("init")

    def test_init__without_a_parent_fails(self):
        path = self.path("no", "such", "store")
        self.run_command("init", path, code=support.FAILED, says=path)

    def test_init__refuses_sizes_out_of_range(self):
        for option in ("--segment-size=2G", "--segment-size=512K", "--large-min=1K",
                       "--large-min=32M", "--segment-size=0"):
            self.run_command("init", option, code=support.USAGE, says="out of range")
        for option in ("--segment-size=x", "--large-min=-1", "--large-min=1X", "--large-min="):
            self.run_command("init", option, code=support.USAGE, says="is not a size")
        self.run_command("init", "--segment-size=1025K", code=support.USAGE)
        self.run_command("init", "--segment-size=1M", "--large-min=1M", code=support.USAGE)
        self.run_command("init", "--digest=md5", code=support.USAGE, says="md5")
        self.assertFalse(os.path.exists(self.store))

    def test_init__json_describes_the_store(self):
        line, = self.run_json("init", "--digest=sha256", "--large-min=64K", "--segment-size=4M")
        self.assertEqual((line["message_type"], line["created"], line["digest"], line["large_min"],
                          line["segment_size"]), ("init", True, "sha256", 65536, 4 << 20))
        self.assertEqual(len(line["uuid"]), 36)
        line, = self.run_json("init", "--digest=sha256")
        self.assertFalse(line["created"])


class TestKeys(CommandTest):
    def setUp(self):
        super().setUp()
        self.key = self.file("key", bytes(range(32)))
        self.hex = self.file("hex", bytes(range(32)).hex().encode() + b"\n")
        self.other = self.file("other", bytes(32))
        for path in (self.key, self.hex, self.other):
            os.chmod(path, 0o600)

    def keyed(self):
        self.run_command("init", "--digest=blake3-keyed", "--key-file", self.key)

    def test_key__opens_its_store_in_either_form(self):
        self.keyed()
        out = self.run_command("put", "-", "--key-file", self.key, stdin=b"secret")
        identity = out.split()[0].decode()
        env = {"INGOT_KEY_FILE": self.hex}
        self.assertEqual(self.get(identity, env=env), b"secret")
        self.run_command("init", "--digest=blake3-keyed", env=env)
        self.run_command("check", "--read-data", env=env)

    def test_key__ids_do_not_confirm_content(self):
        self.keyed()
        keyed = self.run_command("put", "-", "--key-file", self.key, stdin=b"secret").split()[0]
        plain = self.path("plain")
        self.run_command("init", plain)
        self.assertNotEqual(self.run_command("-C", plain, "put", "-", stdin=b"secret").split()[0],
                            keyed)

    def test_key__wrong_or_missing_is_refused(self):
        self.keyed()
        self.run_command("ls", "--key-file", self.other, code=support.WRONG_KEY, says=self.store)
        self.run_command("ls", code=support.WRONG_KEY, says=self.store)
        self.run_command("put", "-", "--key-file", self.other, stdin=b"x", code=support.WRONG_KEY)
        self.run_command("check", "--read-data", "--key-file", self.key)

    def test_key__not_needed_is_refused(self):
        self.run_command("init")
        self.run_command("ls", "--key-file", self.key, code=support.WRONG_KEY)

    def test_key__init_wants_both_or_neither(self):
        self.run_command("init", "--digest=blake3-keyed", code=support.USAGE, says="--key-file")
        self.run_command("init", "--key-file", self.key, code=support.USAGE)
        self.assertFalse(os.path.exists(self.store))

    def test_key__file_must_hold_a_key(self):
        for data in (b"", b"short", bytes(33), b"g" * 64, b"0" * 64 + b"\n\n", bytes(1000)):
            path = self.file("bad", data)
            os.chmod(path, 0o600)
            self.run_command("init", "--digest=blake3-keyed", "--key-file", path,
                             code=support.WRONG_KEY, says=path)
        gone = self.path("gone")
        self.run_command("init", "--digest=blake3-keyed", "--key-file", gone, code=support.FAILED,
                         says=[gone, "No such file"])

    def test_key__readable_by_others_is_remarked(self):
        os.chmod(self.key, 0o644)
        self.run_command("init", "--digest=blake3-keyed", "--key-file", self.key, says="0644")
        self.run_command("-q", "ls", "--key-file", self.key)


if __name__ == "__main__":
    support.main()
