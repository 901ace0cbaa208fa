"""The library that reads and writes Parquet, which is an extra."""

from typing import Any

from visioncore.errors import ConfigError


def require_parquet(what: str) -> Any:
    """pyarrow, imported where it is used.

    Args:
        what: is to be read or written, to name it in the message.

    Raises:
        ConfigError: it is not installed, with the extra that has it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(f"{what} is a Parquet file: pip install 'visioncore[parquet]'") from None
    return pyarrow
