"""How every file is written: complete or not at all. A process that is killed leaves the old file or none.

What is written stands in a *partial* beside the file. It gets the file's name after its bytes have reached the disk.
"""

import csv
import io
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes, partial: Path | None = None) -> None:
    """Write `data` to `path`; the folder is made where there is none.

    Args:
        partial: what it is called until it is whole; `partial_beside(path)` when left out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial or partial_beside(path)
    partial.write_bytes(data)
    replace_durably(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8."""
    write_bytes(path, text.encode())


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a small JSON file with sorted keys, that people read too."""
    write_text(path, json.dumps(record, indent=2, sort_keys=True) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table whose columns are the keys of the first row; None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def partial_beside(path: Path) -> Path:
    """The name of a file that is not yet whole. Each process has its own, on each machine that shares the folder."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.partial")


def replace_durably(partial: Path, path: Path) -> None:
    """Give a finished file its name, after its bytes have reached the disk."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
