"""The reader's own hashes, against published values and against the system's libraries."""

import json
import os
import random
import unittest

import digests

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data",
                       "blake3_test_vectors.json")
SEED = int(os.environ.get("INGOT_TEST_SEED", "1"))


def pattern(size):
    return bytes(i % 251 for i in range(size))


class Blake3(unittest.TestCase):
    def setUp(self):
        with open(VECTORS, encoding="ascii") as file:
            vectors = json.load(file)
        self.key = vectors["key"].encode()
        self.cases = [c for c in vectors["cases"] if c["input_len"] <= 8193]
        self.longest = max(vectors["cases"], key=lambda case: case["input_len"])

    def test_python__agrees_with_the_published_vectors(self):
        for case in self.cases:
            data = pattern(case["input_len"])
            self.assertEqual(digests.blake3_python(data).hex(), case["hash"][:64])
            self.assertEqual(digests.blake3_python(data, self.key).hex(), case["keyed_hash"][:64])

    def test_digest__agrees_with_the_published_vectors(self):
        for case in self.cases + [self.longest]:
            data = pattern(case["input_len"])
            self.assertEqual(digests.digest("blake3", data).hex(), case["hash"][:64])
            self.assertEqual(digests.digest("blake3-keyed", data, self.key).hex(),
                             case["keyed_hash"][:64])

    def test_tree__leads_to_the_published_hash(self):
        data = pattern(self.longest["input_len"])
        tree = digests.tree_of(data)
        self.assertEqual(len(tree), 32 * 2)
        self.assertEqual(digests.root_of_tree(tree).hex(), self.longest["hash"][:64])

    def test_tree__leads_to_the_hash_for_uneven_counts_of_groups(self):
        for groups in (3, 4):
            data = pattern(groups * digests.TREE_GROUP - 65000)
            tree = digests.tree_of(data, self.key)
            self.assertEqual(digests.root_of_tree(tree, self.key),
                             digests.digest("blake3-keyed", data, self.key))

    def test_digester__names_what_does_not_match(self):
        wrong = []
        for kind, key in (("blake3", None), ("sha256", None), ("blake3-keyed", self.key)):
            digester = digests.Digester(kind, key, wrong.append)
            for size in (0, 1, 1024, 1025, 70000):
                data = pattern(size)
                digester.add(data, digests.digest(kind, data, key), (kind, size, "right"))
                digester.add(data + b"!", digests.digest(kind, data, key), (kind, size, "wrong"))
            digester.flush()
        self.assertEqual(len(wrong), 15)
        self.assertEqual({tag[2] for tag in wrong}, {"wrong"})


class Xxh3(unittest.TestCase):
    def test_python__agrees_with_known_values(self):
        self.assertEqual(digests.xxh3_python(b""), 0x2D06800538D394C2)
        self.assertEqual(digests.xxh3_python(b"a"), 0xE6C632B61E964E1F)
        self.assertEqual(digests.xxh3_python(b"abc"), 0x78AF5F94892F3950)

    def test_python__agrees_with_the_library(self):
        if digests.xxh3 is digests.xxh3_python:
            self.skipTest("no libxxhash")
        print(f"seed {SEED}")
        source = random.Random(SEED)
        for size in [*range(0, 300), 511, 512, 513, 1023, 1024, 1025, 2048, 2049, 65537]:
            data = source.randbytes(size)
            for seed in (0, 1, source.getrandbits(64)):
                self.assertEqual(digests.xxh3_python(data, seed), digests.xxh3(data, seed))


if __name__ == "__main__":
    unittest.main()
