#!/usr/bin/env python3
"""Writes the seed corpus of cache files, fuzz/corpus/cache_file/.

make_cache_corpus.py        standard library only; the bytes depend on the version of SQLite

Small files with pages of 512 bytes, good and hostile. Each hostile one is named after its trick; tests/unit/test_disk.c says what
the disk tier must make of it.
"""
import hashlib
import pathlib
import re
import sqlite3
import struct

ROOT = pathlib.Path(__file__).resolve().parent
OUT = ROOT / "corpus" / "cache_file"
APPLICATION_ID = 0x43534331
STORED_MS = 1_700_000_000_000


def schema():
    """The tables as src/store/disk_schema.c makes them."""
    source = (ROOT.parent / "src" / "store" / "disk_schema.c").read_text(encoding="utf-8")
    body = source.split("migrations[] = {")[1].split("};")[0]
    return "".join(re.findall(r'^\s*"(.*?)"', body, re.MULTILINE))


def row(cache, key, value):
    checksum = hashlib.blake2b(cache.encode() + b"\0" + key + struct.pack("<q", STORED_MS) + value, digest_size=32).digest()
    return cache, key, len(value), STORED_MS, STORED_MS, checksum, value


def write(name, *statements, tables=None, version=1):
    path = OUT / name
    path.unlink(missing_ok=True)
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("PRAGMA page_size = 512")
    base.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    base.execute(f"PRAGMA user_version = {version}")
    base.executescript(schema() if tables is None else tables)
    if tables is None:
        for cache in ("prediction", "gradcam"):
            base.execute("INSERT INTO entry (cache, key, size, stored_ms, used_ms, checksum, value) VALUES (?, ?, ?, ?, ?, ?, ?)",
                         row(cache, bytes(32), cache.encode()))
    for statement in statements:
        base.execute(statement)
    base.close()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    columns = "cache, key, size, stored_ms, used_ms, checksum, value"
    write("good")
    write("nulls", "INSERT INTO entry DEFAULT VALUES", tables=f"CREATE TABLE entry (id INTEGER PRIMARY KEY, {columns});")
    write("endless_view", tables="CREATE VIEW entry AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS id,"
          "'prediction' AS cache, x'00' AS key, 1 AS size, 1 AS stored_ms, 1 AS used_ms, x'00' AS checksum, x'00' AS value FROM c;")
    write("trigger", "CREATE TRIGGER more AFTER UPDATE ON entry BEGIN DELETE FROM entry; END")
    write("many_caches", *[f"INSERT INTO entry ({columns}) VALUES ('cache{i}', x'{i:02x}', 1, 1, 1, x'00', x'00')" for i in range(9)])
    write("huge_size", "UPDATE entry SET size = 9223372036854775807")
    write("negative_version", tables="", version=-1)
    print(f"cache_file: {len(list(OUT.iterdir()))} files, {sum(f.stat().st_size for f in OUT.iterdir())} bytes")


main()
