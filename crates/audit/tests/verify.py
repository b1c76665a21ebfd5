"""Verifies a file with an audit log by the definitions alone: python3 verify.py FILE 'KEY'.

It shares no code with the crate and is as slow as the definitions are: every checkpoint hashes the whole tree
again. Needs the package `cryptography`. What stands in docs/audit.md is what it does. It reads files that begin
with the first entry.
"""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def root(leaves: list) -> bytes:
    """MTH of RFC 6962, 2.1, of the hashes of leaves."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while 2 * half < len(leaves):
        half *= 2
    return sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:]))


def indices(ranges: str) -> list:
    numbers = []
    for part in ranges.split(","):
        first, last = part.split("-")
        numbers += range(int(first), int(last) + 1)
    return numbers


def verify(file: bytes, key: str) -> str:
    assert file.endswith(b"\n"), "the last line has no end"
    first, *lines = file[:-1].split(b"\n")
    header = json.loads(first)
    assert header["key"] == key and header["form"] == 1 and header["from"] == 0
    name, key_id, public = key.split("+", 2)
    public = base64.b64decode(public)
    assert name == header["log"] and sha256(name.encode() + b"\n" + public)[:4].hex() == key_id
    public = Ed25519PublicKey.from_public_bytes(public[1:])

    leaves, said, missing, entry, signed = [], {}, {}, {}, 0
    for line in lines:
        read = json.loads(line)
        if "entry" in read:
            # The bytes as they stand there, not as anybody would write them again.
            entry = read["entry"]
            bytes_ = line[line.index(b'"entry":') + len(b'"entry":') : -1]
            assert sha256(b"\x00" + bytes_).hex() == read["leaf"], f"entry {len(leaves)} was changed"
            assert entry.get("seq") == len(leaves) or entry["v"] > 1, f"entry {len(leaves)} is another"
            if entry.get("action") == "audit.erase-entries":
                ranges, total = entry["new"]["text"].split(" ")
                begin = b"lineside-audit-erasure/v1\n"
                hashes = b"".join(leaves[index] for index in indices(ranges))
                assert sha256(begin + hashes).hex() == total, "what was erased was something else"
                said[len(leaves)] = indices(ranges)
            leaves.append(bytes.fromhex(read["leaf"]))
        elif "erased" in read:
            missing[len(leaves)] = read["erased"]
            leaves.append(bytes.fromhex(read["leaf"]))
        elif "value" in read:
            begin = b"lineside-audit-value/v1\n" + bytes.fromhex(read["salt"])
            seal = sha256(begin + read["text"].encode()).hex()
            assert read["of"] == len(leaves) - 1 and entry[read["value"]] == {"sealed": seal}
        else:
            text, signatures = read["checkpoint"].split("\n\n")
            origin, size, hash_ = text.split("\n")
            assert (origin, int(size)) == (name, len(leaves)), "a checkpoint of another size"
            assert base64.b64decode(hash_) == root(leaves), f"before entry {size} something was changed"
            own = 0
            for signature in signatures.splitlines():
                _, signer, blob = signature.split(" ")
                blob = base64.b64decode(blob)
                if signer == name and blob[:4].hex() == key_id:
                    public.verify(blob[4:], (text + "\n").encode())
                    own += 1
            assert own, "a checkpoint that the log has not signed"
            signed = len(leaves)
    assert signed == len(leaves) == header["size"], "the end was cut off, or nobody has signed it"
    for index, by in missing.items():
        assert index in said.get(by, []), f"entry {index} is missing, and nothing says why"
    return f"{name} holds: {signed} entries, {len(missing)} of them erased"


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        print(verify(file.read(), sys.argv[2]))
