"""Damage for bytes, texts, JSON and ZIP archives: small steps from valid files, which reach further than noise."""

import io
import json
import re
import struct
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

INTEGERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1, 10**30)
FLOATS = (0.0, -0.0, 1e-320, 1e-30, 0.5, 1e6, 1e18, 1e30, 3.5e38, 1e300, float("inf"), float("-inf"), float("nan"))
WORDS = "nan inf -inf 1e400 -1 0 0x10 1_000 ² ٣ null true \x00 \ufeff … x y z red rgb list uchar double".split(" ")


def pick(rng: np.random.Generator, of: Sequence[Any]) -> Any:
    """Return one of a sequence, as it is there."""
    return of[int(rng.integers(len(of)))]


def scrambled(rng: np.random.Generator, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Return bytes with one to four kinds of damage."""
    for _ in range(int(pick(rng, (1, 1, 1, 2, 3, 4)))):
        data = _step(rng, data, others)
    return data


def _step(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    size = len(data)
    if size < 2:
        return data + bytes(rng.integers(0, 256, 8, dtype=np.uint8))
    head = min(size, int(pick(rng, (32, 128, 512, 2048, size))))  # most of what matters is at the start
    at, length = int(rng.integers(head)), int(pick(rng, (1, 1, 2, 4, 8, 16, 64, 1024)))
    kind = int(rng.integers(10))
    if kind == 0:
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        return bytes(changed)
    if kind == 1:
        return data[:at] + rng.integers(0, 256, length, dtype=np.uint8).tobytes() + data[at + length :]
    if kind == 2:
        return data[: int(rng.integers(size))]
    if kind == 3:
        return data[:at] + data[at + length :]
    if kind == 4:
        return data[:at] + data[at : at + length] * int(rng.integers(2, 9)) + data[at:]
    if kind in (5, 6):
        code, few = pick(rng, (("<I", 4), ("<Q", 8), ("<H", 2), (">I", 4))), INTEGERS
        value = struct.pack(code[0], int(pick(rng, few)) % (1 << (8 * code[1])))
        return data[:at] + value + data[at + len(value) :]
    if kind == 7:
        at -= at % 4
        value = np.asarray(pick(rng, FLOATS), pick(rng, ("<f8", "<f4", ">f4"))) if at < size else np.float32(0)
        return data[:at] + value.tobytes() + data[at + value.nbytes :]
    if kind == 8 and len(others):
        other = pick(rng, others)
        return data[:at] + other[int(rng.integers(len(other) + 1)) :]
    return worded(rng, data)


def worded(rng: np.random.Generator, data: bytes) -> bytes:
    """Return bytes with a number, a word or a line of their text changed."""
    start = data[:4000]
    words = list(re.finditer(rb"[-+.\w]+", start))
    if not words:
        return data
    word = pick(rng, words)
    if rng.random() < 0.3:  # lines
        lines = start.split(b"\n")
        i, j = (int(rng.integers(len(lines))) for _ in range(2))
        if rng.random() < 0.5:
            lines[i], lines[j] = lines[j], lines[i]
        elif rng.random() < 0.5:
            lines.insert(i, lines[j])
        else:
            del lines[i]
        return b"\n".join(lines) + data[4000:]
    new = str(pick(rng, INTEGERS)) if rng.random() < 0.5 else pick(rng, WORDS)
    if rng.random() < 0.2:
        new = pick(rng, words).group().decode(errors="replace")
    return data[: word.start()] + new.encode() + data[word.end() :]


def value(rng: np.random.Generator, deep: int = 2) -> Any:
    """Return what nobody expects in JSON."""
    kind = int(rng.integers(9 if deep else 6))
    if kind == 0:
        return pick(rng, INTEGERS)
    if kind == 1:
        return pick(rng, FLOATS)
    if kind == 2:
        return pick(rng, (None, True, False))
    if kind == 3:
        return pick(rng, WORDS)
    if kind == 4:
        return pick(rng, ([], {}, "", "x" * 200))
    if kind == 5:
        return -int(rng.integers(1, 1000))
    if kind == 6:
        return [value(rng, deep - 1) for _ in range(int(rng.integers(1, 7)))]
    if kind == 7:
        return {pick(rng, WORDS): value(rng, deep - 1) for _ in range(3)}
    nested: Any = 1
    for _ in range(int(pick(rng, (10, 200)))):
        nested = [nested]
    return nested


def changed(rng: np.random.Generator, tree: Any, times: int | None = None) -> Any:
    """Return a JSON tree with one to three places changed, missing, moved or new."""
    tree = json.loads(json.dumps(tree))
    for _ in range(int(rng.integers(1, 4)) if times is None else times):
        places = list(_places(tree))
        if not places:
            return value(rng)
        holder, key = pick(rng, places)
        kind = int(rng.integers(8))
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 0:
            holder.pop(key)
        elif kind == 1 and isinstance(holder, dict):
            holder[pick(rng, WORDS)] = holder[key]
        elif kind == 1:
            holder.insert(key, holder[key])
        elif kind == 2:
            other, there = pick(rng, places)
            holder[key] = json.loads(json.dumps(other[there]))
        elif kind == 3 and isinstance(holder[key], int) and not isinstance(holder[key], bool):
            holder[key] += int(pick(rng, (-1, 1, 2, 100, 10**6, 10**12)))
        else:
            holder[key] = value(rng) if kind > 4 else pick(rng, ("x" * 5000, *INTEGERS))
    return tree


def _places(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in list(items):
        yield tree, key
        yield from _places(child)


def text(rng: np.random.Generator, tree: Any) -> bytes:
    """Return JSON, sometimes damaged as text, sometimes nested as deep as no parser likes."""
    if rng.random() < 0.03:
        depth = int(pick(rng, (500, 2000, 100_000)))
        return b'{"a":' * depth + b"1" + b"}" * depth
    data = json.dumps(tree).encode()
    return scrambled(rng, data) if rng.random() < 0.15 else data


def rezipped(rng: np.random.Generator, data: bytes) -> bytes:
    """Return a ZIP archive whose members were damaged, its checksums right: what is inside is reached."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = pick(rng, list(members))
    kind = int(rng.integers(6))
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[pick(rng, ("coord.npy", "color.npy", "offset.npy", "../x.npy", "feat.npy"))] = members[name]
    else:
        members[name] = scrambled(rng, members[name], list(members.values()))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return stream.getvalue()


def reheaded(rng: np.random.Generator, data: bytes) -> bytes:
    """Return a safetensors file whose JSON header was changed, its length right."""
    size = int.from_bytes(data[:8], "little")
    header = changed(rng, json.loads(data[8 : 8 + size]))
    content = text(rng, header)
    content += b" " * (-len(content) % 8)
    return len(content).to_bytes(8, "little") + content + data[8 + size :]


def reglb(rng: np.random.Generator, data: bytes) -> bytes:
    """Return a GLB whose JSON chunk was changed, its lengths right."""
    size = int.from_bytes(data[12:16], "little")
    content = text(rng, changed(rng, json.loads(data[20 : 20 + size])))
    content += b" " * (-len(content) % 4)
    rest = data[20 + size :]
    total = 20 + len(content) + len(rest)
    return data[:8] + struct.pack("<I", total) + struct.pack("<I", len(content)) + data[16:20] + content + rest
