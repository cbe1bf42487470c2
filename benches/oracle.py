#!/usr/bin/env python3
"""Hit ratios of LRU, FIFO, SIEVE, S3-FIFO and LFU by implementations that are not larder's.

    pip install libcachesim==0.3.5 zstandard
    python3 benches/oracle.py TRACES > oracle.csv
    target/release/hit_ratio --traces TRACES --oracle oracle.csv

libCacheSim, the simulator of the S3-FIFO paper, has all of them but LFU: its LFUDA adds the age
again on every hit, so LFU with dynamic ageing is done here, as the paper has it. Its S3-FIFO refuses
every newcomer where the small queue has room for one only, which is below 20 entries.

TRACES is a folder of *.txt and *.txt.zst with one access a line, the key first. Entries all have
the same size.
"""

import csv
import heapq
import io
import pathlib
import sys

import libcachesim
import zstandard

SHARES = [1, 5, 10, 25]  # percent of the distinct keys
LEAST = 16  # entries


def keys_of(path):
    """The keys of a trace, renumbered from 0."""
    with open(path, "rb") as file:
        if path.suffix == ".zst":
            file = zstandard.ZstdDecompressor().stream_reader(file)
        numbers = {}
        lines = (line.split() for line in io.TextIOWrapper(file, "utf-8"))
        return [numbers.setdefault(line[0], len(numbers)) for line in lines if line]


def simulated(policy):
    """A function that counts the hits of one of libCacheSim's policies."""

    def hits(keys, capacity):
        cache = policy(capacity)
        request = libcachesim.Request()
        request.obj_size = 1
        count = 0
        for key in keys:
            request.obj_id = key
            count += cache.get(request)
        return count

    return hits


def lfu(keys, capacity):
    """LFU with dynamic ageing: the priority is the number of uses plus the age at the last one, the
    age is the priority of the last victim, and of equals the one that has been there longest goes.
    """
    entries = {}  # key: (priority, step of the last use, uses)
    heap = []  # (priority, step, key), also of what has changed since
    age = count = 0
    for step, key in enumerate(keys):
        uses = 0
        if key in entries:
            count += 1
            uses = entries[key][2]
        elif len(entries) == capacity:
            while True:
                age_of_victim, last, victim = heapq.heappop(heap)
                if victim in entries and entries[victim][1] == last:
                    break
            del entries[victim]
            age = age_of_victim
        entries[key] = (uses + 1 + age, step, uses + 1)
        heapq.heappush(heap, (uses + 1 + age, step, key))
    return count


POLICIES = {
    "lru": simulated(libcachesim.LRU),
    "fifo": simulated(libcachesim.FIFO),
    "sieve": simulated(libcachesim.Sieve),
    "s3-fifo": simulated(libcachesim.S3FIFO),
    "lfu": lfu,
}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    paths = pathlib.Path(sys.argv[1]).iterdir()
    paths = sorted(path for path in paths if path.name.endswith((".txt", ".txt.zst")))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["trace", "capacity", *POLICIES])
    for path in paths:
        keys = keys_of(path)
        distinct = len(set(keys))
        for share in SHARES:
            capacity = max(distinct * share // 100, LEAST)
            ratios = (100 * hits(keys, capacity) / len(keys) for hits in POLICIES.values())
            name = path.name.removesuffix(".zst").removesuffix(".txt")
            out.writerow([name, capacity, *(f"{ratio:.4f}" for ratio in ratios)])
            sys.stdout.flush()


if __name__ == "__main__":
    main()
