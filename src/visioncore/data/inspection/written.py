"""A proposed YAML as text, with the reason of each value behind it."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq


def as_yaml(content: Mapping[str, Any], comments: Mapping[str, str], heading: str) -> str:
    """YAML with comments.

    Args:
        comments: by dotted key, such as `params.sessions.0.axes`.
        heading: comment lines at the top.
    """
    yaml = YAML()
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    written = _commented(content, "", comments)
    text = io.StringIO()
    yaml.dump(written, text)
    top = "".join(f"# {line}\n" for line in heading.splitlines())
    return top + text.getvalue()


def _commented(value: Any, at: str, comments: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        node = CommentedMap()
        for key, inner in value.items():
            dotted = f"{at}.{key}" if at else str(key)
            node[str(key)] = _commented(inner, dotted, comments)
            if dotted in comments:
                _comment(node, str(key), comments[dotted], indent=2 * dotted.count("."))
        return node
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items = CommentedSeq()
        for k, inner in enumerate(value):
            items.append(_commented(inner, f"{at}.{k}", comments))
        if all(not isinstance(item, CommentedMap | CommentedSeq) for item in items):
            items.fa.set_flow_style()
        return items
    return value.item() if hasattr(value, "item") else value


def _comment(node: CommentedMap, key: str, comment: str, indent: int) -> None:
    """Behind a value; above what spans several lines."""
    value = node[key]
    one_line = not isinstance(value, CommentedMap) and not (
        isinstance(value, CommentedSeq) and not value.fa.flow_style()
    )
    if one_line:
        node.yaml_add_eol_comment(comment, key)
    else:
        node.yaml_set_comment_before_after_key(key, before=comment, indent=indent)
