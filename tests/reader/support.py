"""What the tests of the reader share: running it, a folder of its own for each test."""

import contextlib
import io
import os
import re
import shutil
import tempfile
import unittest

import ingot_reader

READER = os.path.abspath(ingot_reader.__file__)
DONE, FAILED, NO_STORE, WRONG_KEY, DAMAGED = 0, 1, 10, 12, 14


def reader(*args):
    """(exit status, standard output, standard error) of the reader, run in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            status = ingot_reader.main(args)
    return status, out.getvalue(), err.getvalue()


class StoreCase(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ingot-reader-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.store = os.path.join(self.folder, "store")

    def path(self, name):
        return os.path.join(self.store, name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def change(self, name, offset, data):
        """Overwrites bytes in place; returns what was there."""
        with open(self.path(name), "r+b") as file:
            file.seek(offset)
            before = file.read(len(data))
            file.seek(offset)
            file.write(data)
        return before

    def flip(self, name, offset, bit=0x10):
        before = self.read(name)[offset]
        self.change(name, offset, bytes([before ^ bit]))

    def list(self, status=DONE):
        """{id: (size, refs, place)} as the reader lists them."""
        code, out, err = reader("list", self.store)
        self.assertEqual(code, status, err)
        lines = [line.split(" ") for line in out.splitlines()]
        self.assertEqual([line[0] for line in lines], sorted(line[0] for line in lines))
        return {id_: (int(size), int(refs), place) for id_, size, refs, place in lines}

    def verify(self, status, *args):
        """The damaged names, with their texts, that `verify` prints."""
        code, out, err = reader("verify", self.store, *args)
        self.assertEqual((code, err), (status, ""), out)
        return [line[len("damaged "):] for line in out.splitlines()
                if re.match(r"damaged (?!store: )", line)]

    def assert_clean(self, *args):
        self.assertEqual(self.verify(DONE, *args), [])

    def assert_named(self, name, *args):
        """Verify finds damage and one line of it starts with `name`."""
        found = self.verify(DAMAGED, *args)
        self.assertTrue(any(line.startswith(name) for line in found), (name, found))
        return found
