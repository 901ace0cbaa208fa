"""Small JSON records of what is on disk, each with its own digest: read back whole and unchanged, or refused."""

import hashlib
import json
import os
import socket
from typing import Any, TypeVar

from pydantic import ValidationError

from visioncore.config import Config
from visioncore.errors import DataError
from visioncore.files import write_bytes
from visioncore.remote import AnyPath, RemotePath

C = TypeVar("C", bound=Config)
STORE_VERSION = 2
"""Of session stores and recording plans alike."""
REMEDY = "delete it and prepare again"


def write_manifest(path: AnyPath, manifest: Config) -> None:
    """Write a record with its digest, atomically, and have it on the disk before returning."""
    content = manifest.model_dump(mode="json")
    document = {"version": STORE_VERSION, "sha256": _digest(content), "manifest": content}
    data = json.dumps(document, indent=1, allow_nan=False).encode()
    if isinstance(path, RemotePath):
        path.write_bytes(data)
        return
    # The next preparation removes it, as it does what a killed one left of a session.
    partial = path.with_name(f".building-{path.name}-{socket.gethostname()}-{os.getpid()}")
    write_bytes(path, data, partial)


def read_manifest(path: AnyPath, kind: type[C], what: str) -> C:
    """The record in a file.

    Args:
        what: what messages call it, such as "a session store".

    Raises:
        DataError: the file is missing, damaged, changed or of another version.
    """
    try:
        document = json.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {path.parent} holds no finished {what}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged ({error}); {REMEDY}") from None
    if not isinstance(document, dict) or not {"sha256", "manifest"} <= set(document):
        raise DataError(f"{path}: is no manifest of a {what}, or damaged; {REMEDY}")
    if document.get("version") != STORE_VERSION:
        raise DataError(
            f"{path}: store version {document.get('version')}, this VisionCore reads version {STORE_VERSION}; {REMEDY}"
        )
    content = document["manifest"]
    if document["sha256"] != _digest(content):
        raise DataError(f"{path}: was changed after it was written; {REMEDY}")
    try:
        return kind.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise DataError(
            f"{path}: does not describe a {what} ({error.errors()[0]['msg']}); {REMEDY}"
        ) from None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
