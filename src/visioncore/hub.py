"""Twins on the hub of Hugging Face: `hf://owner/name`, or `hf://owner/name@revision`, wherever a twin is named.

One file is fetched, `twin.safetensors`, and kept in the cache of `huggingface_hub`; nothing else is ever loaded. Keys,
cache, endpoint and offline mode are what that library takes from the environment (`HF_TOKEN`, `HF_HOME`, `HF_ENDPOINT`,
`HF_HUB_OFFLINE`).
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from visioncore.errors import CheckpointError, ConfigError
from visioncore.run_folder import TWIN

# A `Path` has made one slash of two.
_NAME = re.compile(r"hf://?(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>.+))?")


class HubTwin(NamedTuple):
    """A twin of the hub, as it lies in the cache."""

    file: Path
    name: str
    """`hf://owner/name@COMMIT`: these very weights, for ever."""


def is_on_hub(name: str | Path) -> bool:
    """Whether a name is one of the hub, right or wrong."""
    return str(name).startswith("hf:/")


def pinned(name: str) -> str:
    """The name with the commit that it means today; what is no name of the hub stays as it is."""
    return fetch(name).name if is_on_hub(name) else name


def fetch(name: str | Path) -> HubTwin:
    """Download a twin's file, unless it is in the cache.

    Raises:
        ConfigError: the name is none, or huggingface_hub is not installed.
        CheckpointError: there is no such twin or revision, or it may not be read, or the hub cannot be reached.
    """
    found = _NAME.fullmatch(str(name))
    if found is None:
        raise ConfigError(f"{name}: expected hf://owner/name or hf://owner/name@revision")
    repo, revision = found["repo"], found["revision"]
    told = f"hf://{repo}" + ("" if revision is None else f"@{revision}")
    hub = _library(told)
    with _asked(told):
        file = Path(hub.hf_hub_download(repo, TWIN, revision=revision, library_name="visioncore"))
    # CACHE/models--owner--name/snapshots/COMMIT/twin.safetensors
    return HubTwin(file, f"hf://{repo}@{file.parent.name}")


def upload(repo: str, files: Mapping[str, bytes | Path], message: str, *, public: bool) -> str:
    """Put files into a repository as one commit; the repository is made where there is none.

    Returns:
        Its name with the commit.

    Raises:
        ConfigError: the name is none, huggingface_hub is not installed, or the repository is there and is public where
            a private one was asked for, or private where a public one was.
        CheckpointError: it may not be written, or the hub cannot be reached.
    """
    if re.fullmatch(r"[^/@]+/[^/@]+", repo) is None:
        raise ConfigError(f"{repo}: expected owner/name")
    told = f"hf://{repo}"
    hub = _library(told)
    api = hub.HfApi(library_name="visioncore")
    with _asked(told):
        api.create_repo(repo, private=not public, exist_ok=True)
        is_public = not api.model_info(repo).private
    if is_public and not public:
        raise ConfigError(
            f"{told}: is public, and what is pushed there all can read; say --public if that is meant"
        )
    if public and not is_public:
        raise ConfigError(f"{told}: is private; make it public on the hub, or push without --public")
    with _asked(told):
        operations = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
        commit = api.create_commit(repo, operations, commit_message=message)
    return f"{told}@{commit.oid}"


def _library(name: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise ConfigError(
            f"{name}: twins on the hub need huggingface_hub; `pip install 'visioncore[hub]'`"
        ) from None
    return huggingface_hub


_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_TOLD = {
    "GatedRepoError": f"is given to those who accept its terms: see its page on the hub, and {_LOG_IN}",
    "RepositoryNotFoundError": f"there is no such repository, or it is private and you may not read it; {_LOG_IN}",
    "RevisionNotFoundError": "the repository has no such revision",
    "LocalEntryNotFoundError": "the hub cannot be reached, and the twin is not in the cache; check the network (or "
    "HF_HUB_OFFLINE), or name a file",
    "OfflineModeIsEnabled": "the hub cannot be reached, since HF_HUB_OFFLINE is set",
    "EntryNotFoundError": f"the repository holds no {TWIN}, so it is no twin that `visioncore push` wrote; nothing "
    "else is loaded, least of all a pickle",
}
"""Errors of huggingface_hub, the narrower before the wider, and what they mean here."""


@contextlib.contextmanager
def _asked(name: str) -> Iterator[None]:
    """What the hub answers, in our words."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise ConfigError(f"{name}: is no name of the hub ({_line(error)})") from None
    except Exception as error:
        for kind, told in _TOLD.items():
            if isinstance(error, getattr(errors, kind)):
                raise CheckpointError(f"{name}: {told}") from None
        if isinstance(error, errors.HfHubHTTPError):
            status = error.response.status_code
            if status in (401, 403):
                raise CheckpointError(
                    f"{name}: you may not do this there (HTTP {status}); {_LOG_IN}"
                ) from None
        if isinstance(error, errors.HfHubHTTPError | ValueError):
            raise CheckpointError(f"{name}: the hub refuses: {_line(error)}") from None
        # The connection's own errors differ from version to version of the library.
        raise CheckpointError(
            f"{name}: the hub cannot be reached ({type(error).__name__}: {_line(error)}); check the network"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
