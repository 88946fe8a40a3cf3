"""Ways to break a file: its bytes, tables, trees of YAML and JSON, pictures, films, DICOM.

Each is a function of a path and a seeded generator; it changes the file, and returns what it did and
whether what is there now is nonsense that no verb may take (see `benchmarks/fuzz.py`).
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

Done = tuple[str, bool]
Mutation = Callable[[Path, Random], Done]

WORDS = (
    *("", " ", "nan", "inf", "-inf", "1e308", "-1e308", "1e400", "1e-320", "9" * 23, "9" * 5000),
    *("-1", "0", "0.5", "1.5", "1,5", "99", "true", "None", "null", "0x10", "1_000", "\u0663", "1e3"),
    *('=HYPERLINK("http://x.example","y")', "@SUM(1)", "+1+A1", "-1+A1", "'=1", "\u202ex", "\ufeffx"),
    *("../../etc/passwd", "/dev/zero", ".", "a/b", "a\\b", "a\x00b", "a\nb", "'", '"', "[", "{", "%s"),
    *("{0}", "{label}", "&a [*a]", "\U0001f642", "e\u0301", "x" * 10_000, "\t", "<b>", ";", "#"),
)
NUMBERS: tuple[Any, ...] = (
    *(float("nan"), float("inf"), -float("inf"), 1e308, 1e-320, -1, 0, 1, 2, 10**23, 2**31, 2**63, 0.5),
)
VALUES: tuple[Any, ...] = (
    *NUMBERS,
    None,
    True,
    False,
    "",
    "nan",
    [],
    {},
    [[]],
    {"a": {}},
    "x" * 1000,
    ["a"],
)
NUMERIC = (
    "frame",
    "x",
    "y",
    "width",
    "height",
    "grade",
    "label",
    "score",
    "age",
    "mm_per_pixel",
    "start_s",
)
IDS = ("patient_id", "clip_id")


def of_bytes(path: Path, random: Random) -> Done:
    """Flipped bits, cuts, splices, and files of another encoding or kind."""
    data = bytearray(path.read_bytes())
    size = len(data)
    kind = random.choice(
        (
            *(
                "flip",
                "flip",
                "flip",
                "cut",
                "cut",
                "splice",
                "drop",
                "insert",
                "zero",
                "ones",
                "empty",
                "twice",
            ),
            *("nul", "utf16", "latin1", "fifo", "folder", "loop"),
        )
    )
    at = random.randrange(size) if size else 0
    length = min(random.choice([1, 4, 16, 256, 4096]), size - at)
    if kind == "flip":
        for _ in range(random.choice([1, 1, 2, 8, 64])):
            if size:
                data[random.randrange(min(size, random.choice([64, 512, size])))] ^= (
                    1 << random.randrange(8)
                )
    elif kind == "cut":
        del data[at:]
    elif kind == "splice":
        to = random.randrange(size) if size else 0
        data[to : to + length] = data[at : at + length]
    elif kind == "drop":
        del data[at : at + length]
    elif kind == "insert":
        data[at:at] = random.randbytes(random.choice([1, 4, 64, 4096]))
    elif kind == "zero":
        data[at : at + length] = bytes(length)
    elif kind == "ones":
        data[at : at + length] = b"\xff" * length
    elif kind == "empty":
        data.clear()
    elif kind == "twice":
        data += bytes(data)
    elif kind == "nul":
        data[at:at] = b"\0"
    elif kind == "utf16":
        data = bytearray(bytes(data).decode("latin-1").encode("utf-16"))
    elif kind == "latin1":
        data[at:at] = "é".encode("latin-1")
    else:
        path.unlink()
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(path.name)
        return kind, kind != "folder"
    path.write_bytes(data)
    return f"{kind} at {at}", kind == "empty"


def of_table(path: Path, random: Random) -> Done:
    """Cells, columns and rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    header, body = rows[0], rows[1:]
    column, row = random.randrange(len(header)), random.randrange(len(body))
    name = header[column]
    kind = random.choice(
        ["cell"] * 12
        + ["twin column", "no column", "name", "twin row", "no rows"]
        + ["columns", "line", "ragged", "quote", "semicolons", "column of one"]
    )
    bad = False
    if kind in ("cell", "column of one"):
        word = random.choice(WORDS)
        for one in body if kind == "column of one" else [body[row]]:
            one[column] = word
        kind, bad = f"{kind} {name} = {word[:30]!r}", _is_nonsense(name, word)
    elif kind == "twin column":
        for one in rows:
            one.append(one[column])
        bad = True
    elif kind == "no column":
        for one in rows:
            del one[column]
        bad = name in ("patient_id", "clip_id", "frame", "x", "y", "width", "height", "score") and (
            name != "clip_id" or path.name == "boxes.csv"
        )
    elif kind == "name":
        header[column] = random.choice(WORDS)
    elif kind == "twin row":
        rows.append(list(body[row]))
        bad = path.name != "pairs.csv"
    elif kind == "no rows":
        del rows[1:]
        bad = True
    elif kind == "columns":
        many = random.choice([5_000, 100_000])
        for number, one in enumerate(rows):
            one += [f"c{n}" if number == 0 else "1" for n in range(many)]
        bad = True
    elif kind == "line":
        body[row][column] = "x" * random.choice([200_000, 5_000_000])
        bad = True
    elif kind == "ragged":
        body[row].append("1")
        bad = True
    text = io.StringIO()
    csv.writer(text, delimiter=";" if kind == "semicolons" else ",", lineterminator="\n").writerows(
        rows
    )
    content = text.getvalue()
    if kind == "quote":
        at = random.randrange(len(content))
        content = content[:at] + '"' + content[at:]
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    return kind, bad or kind == "semicolons"


def _is_nonsense(column: str, word: str) -> bool:
    """Whether no table may hold this in this column."""
    plain = word.strip().lstrip("\ufeff")
    if "\0" in word:
        return True
    if column in IDS:
        return not plain or (plain[0] in "=+@" and not plain[1:].isdigit()) or plain == "-1+A1"
    if column in NUMERIC:
        wild = (
            "nan",
            "inf",
            "-inf",
            "1e308",
            "-1e308",
            "1e400",
            "9" * 23,
            "9" * 5000,
            "true",
            "[",
            "{",
        )
        optional = column in ("grade", "label", "age", "mm_per_pixel", "start_s")
        if column == "age" and plain in ("nan", "true", "[", "{"):
            return False  # told: read as categories
        if column in ("mm_per_pixel", "start_s", "grade", "label") and not plain:
            return False
        return (
            plain in wild
            or (plain == "" and not optional)
            or (plain == "-1" and column not in ("start_s",))
        )
    return False


def of_tree(path: Path, random: Random) -> Done:
    """One node of a YAML or JSON file replaced; keys twice, depth, aliases."""
    is_json = path.suffix.lower() == ".json"
    text = path.read_text(encoding="utf-8")
    kind = random.choice(["value"] * 8 + ["twin key", "deep", "aliases", "type", "recursive", "flow"])
    if kind == "twin key":
        key = re.search(r"^(\w+):" if not is_json else r'"(\w+)"\s*:', text, re.MULTILINE)
        if key is None:
            return "nothing", False
        if is_json:
            text = text.replace("{", "{" + f'"{key[1]}": 1, ', 1)
        else:
            text += f"\n{key[1]}: 1\n"
        path.write_text(text, encoding="utf-8")
        return kind, True
    if kind in ("deep", "flow"):
        depth = random.choice([100, 5_000, 200_000])
        inner = "[" * depth + "]" * depth
        if kind == "deep" and not is_json:
            inner = "".join(f"\n{' ' * (n + 1)}b:" for n in range(min(depth, 2_000)))
        path.write_text(f"a: {inner}" if not is_json else f'{{"a": {inner}}}', encoding="utf-8")
        return f"{kind} {depth}", depth > 1_000 or not is_json
    if kind == "aliases" and not is_json:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
        path.write_text(text + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return kind, True
    if kind == "recursive" and not is_json:
        path.write_text(text + "\nextra: &e [*e]\n", encoding="utf-8")
        return kind, True
    tree = json.loads(text) if is_json else yaml.safe_load(text)
    places = list(_places(tree))
    if not places:
        return "nothing", False
    holder, key, where = random.choice(places)
    value = random.choice(VALUES if kind != "type" else ([], {}, "text", 1.5, None, [1, 2], {"a": 1}))
    bad = (isinstance(value, float) and value != value) or value in (float("inf"), -float("inf"))
    holder[key] = value
    path.write_text(json.dumps(tree) if is_json else yaml.safe_dump(tree), encoding="utf-8")
    return f"{where} = {str(value)[:30]}", bad and not is_json


def _places(tree: Any, where: str = "") -> Any:
    items = (
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    )
    for key, value in list(items):
        yield tree, key, f"{where}.{key}".lstrip(".")
        yield from _places(value, f"{where}.{key}")


def of_numbers(path: Path, random: Random) -> Done:
    """One number in a text (XML, JSON, YOLO) replaced by a word."""
    text = path.read_text(encoding="utf-8")
    spots = list(re.finditer(r"(?<![\w.])-?\d+(\.\d+)?(?![\w.])", text))
    if not spots:
        return "nothing", False
    spot, word = random.choice(spots), random.choice(WORDS).replace("\0", "")
    path.write_text(text[: spot.start()] + word + text[spot.end() :], encoding="utf-8")
    return f"{spot[0]} at {spot.start()} = {word[:30]!r}", False


SIDES = (0, 1, 30_000, 65_535, 16_384, 2**31 - 1, 2**31, 2**32 - 1)


def of_picture(path: Path, random: Random) -> Done:
    """The size that a PNG, JPEG, BMP or TIFF claims; else its bytes."""
    data = bytearray(path.read_bytes())
    wide, high = random.choice(SIDES), random.choice(SIDES)
    if random.random() < 0.4:
        wide = high = 30_000
    if data[:4] == b"\x89PNG":
        data[16:24] = struct.pack(">II", wide & 0xFFFFFFFF, high & 0xFFFFFFFF)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif data[:2] == b"\xff\xd8":
        at = next(
            (n for n in range(len(data) - 9) if data[n] == 0xFF and data[n + 1] in (0xC0, 0xC2)), 0
        )
        if at:
            data[at + 5 : at + 9] = struct.pack(">HH", high & 0xFFFF, wide & 0xFFFF)
            wide, high = wide & 0xFFFF, high & 0xFFFF
    elif data[:2] == b"BM":
        data[18:26] = struct.pack("<II", wide & 0xFFFFFFFF, high & 0xFFFFFFFF)
    else:
        return of_bytes(path, random)
    path.write_bytes(data)
    return f"claims {wide} × {high}", wide * high > 2**26


def of_film(path: Path, random: Random) -> Done:
    """The size or number of frames that an AVI or MP4 claims; else its bytes."""
    data = bytearray(path.read_bytes())
    value = random.choice(SIDES) & 0xFFFFFFFF
    if random.random() < 0.5:
        return of_bytes(path, random)
    if data[:4] == b"RIFF":
        main, form = data.find(b"avih"), data.find(b"strf")
        spots = [main + 8 + 16, main + 8 + 32, main + 8 + 36, form + 8 + 4, form + 8 + 8]
        chosen = random.sample(spots, random.choice([1, 2, 5]))
        for spot in chosen:
            data[spot : spot + 4] = struct.pack("<I", value)
        kind = f"AVI header {sorted(chosen)} = {value}"
    else:
        box = random.choice([b"tkhd", b"stsd", b"stsz", b"stts", b"mvhd", b"mdhd", b"stco", b"stsc"])
        at = data.find(box)
        spot = at + 4 + 4 * random.randrange(20)
        data[spot : spot + 4] = struct.pack(">I", value)
        kind = f"MP4 {box.decode()} + {spot - at} = {value}"
    path.write_bytes(data)
    return kind, False


def of_dicom(path: Path, random: Random) -> Done:
    """An element of a DICOM header; a deflated bomb; else its bytes."""
    from pydicom import dcmread

    kind = random.choice(["element"] * 5 + ["bytes"] * 4 + ["bomb"])
    if kind == "bytes":
        return of_bytes(path, random)
    dataset = dcmread(path, force=True)
    if kind == "bomb":
        import bombs

        bombs.dicom(path, deflated=3 << 29)
        return "deflated bomb", True
    name = random.choice(
        (
            *(
                "Rows",
                "Columns",
                "NumberOfFrames",
                "BitsAllocated",
                "BitsStored",
                "HighBit",
                "SamplesPerPixel",
            ),
            *(
                "PhotometricInterpretation",
                "PixelRepresentation",
                "PlanarConfiguration",
                "FrameTime",
                "PixelData",
            ),
        )
    )
    value: Any = random.choice([0, 1, 2, 3, 7, 16, 65_535, 30_000])
    if name == "NumberOfFrames":
        value = random.choice(["1000000000", "0", "-1", "1", "99999", "2147483648"])
    elif name == "PhotometricInterpretation":
        value = random.choice(["", "RGB", "MONOCHROME2", "YBR_FULL_422", "PALETTE COLOR", "YBR_ICT"])
    elif name == "FrameTime":
        value = random.choice(["0", "-1", "1e308", "nan", "66"])
    elif name == "PixelData":
        value = dataset.PixelData[: random.randrange(len(dataset.PixelData)) // 2 * 2]
    setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=False)
    return f"{name} = {str(value)[:20]}", name == "NumberOfFrames" and str(value) == "1000000000"
