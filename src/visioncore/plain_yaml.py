"""What of YAML our configs hold: numbers, texts, lists, mappings with texts as keys. The rest is refused by place."""

import math

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from visioncore.errors import ConfigError

_NOT_PLAIN = {
    "timestamp": "a date",
    "binary": "bytes",
    "set": "a set",
    "omap": "an ordered mapping",
    "pairs": "a list of pairs",
}
"""YAML's own types that no config of ours holds."""


def require_plain(
    node: Node | None, where: str, path: tuple[str, ...] = (), around: tuple[Node, ...] = ()
) -> None:
    """Refuse what YAML takes for something else than a number, a text, a list or a mapping with texts as keys.

    Raises:
        ConfigError: naming the keys that lead there, the line, and the value as it is written.
    """
    tag = _tag(node)
    found = _NOT_PLAIN.get(tag)
    if any(node is other for other in around):
        found = "a list or mapping that contains itself"
    elif tag == "float" and isinstance(node, ScalarNode) and not _is_finite(node.value):
        found = "no finite number"
    if node is not None and found is not None:
        place = f"'{'.'.join(path)}' in line {node.start_mark.line + 1} " if path else ""
        value = f"{cut(node.value)}, " if isinstance(node, ScalarNode) else ""
        remedy = f"if it is a text, {put_in_quotes(where)}"
        raise ConfigError(
            f"{where}: {place}holds a value that is no plain number, text, list or mapping ({value}{found}); "
            + (remedy if isinstance(node, ScalarNode) else "write a list [a, b] or a mapping {a: 1}")
        )
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if _tag(key) not in ("str", "merge"):
                spelt = f"{cut(key.value)}" if isinstance(key, ScalarNode) else "a list or mapping"
                inside = f" in '{'.'.join(path)}'" if path else ""
                raise ConfigError(
                    f"{where}: the key {spelt}{inside} in line {key.start_mark.line + 1} is no text; "
                    f"{put_in_quotes(where)}"
                )
            require_plain(value, where, (*path, str(key.value)), (*around, node))
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            require_plain(value, where, (*path, str(index)), (*around, node))


def _tag(node: Node | None) -> str:
    return str(node.tag).rpartition(":")[2] if node is not None else ""


def _is_finite(number: str) -> bool:
    try:
        return math.isfinite(float(number.replace("_", "")))
    except ValueError:  # .inf and .nan
        return False


def put_in_quotes(where: str) -> str:
    """What to do with a text that YAML takes for something else; `where` tells a file from `--set`."""
    shell = """, and once more for the shell: --set 'key="..."'""" if "--set" in where else ""
    return f"put it in quotes, as it is written{shell}"


def cut(text: str) -> str:
    """The text, or its beginning where it is long."""
    return text if len(text) <= 80 else text[:77] + "..."
