"""YAML as people write it by hand: plain data, every key once, no aliases, no surprise in size."""

from pathlib import Path
from typing import Any

import yaml

from medgan.errors import MedganError

_MAX_BYTES = 200_000


def read_yaml(path: Path, *, where: str) -> tuple[Any, dict[str, int]]:
    """Return the document of a YAML file, and the line of each dotted key in it.

    Args:
        path: the file.
        where: opens messages, as in "config debug.yaml".

    Raises:
        MedganError: if the file cannot be read, is over 200 kB or no YAML of plain data, or holds an alias (which can
            grow without bound) or a key twice (of which YAML silently takes the last).
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise MedganError(f"{where}: must be under {_MAX_BYTES} bytes, found {path.stat().st_size}.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MedganError(f"{where}: could not be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise MedganError(f"{where}: must be UTF-8 text; {error}.") from error
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None, {}
        lines: dict[str, int] = {}
        _walk(root, "", where=where, lines=lines, seen=set())
        return loader.construct_document(root), lines
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a date or number that cannot be
        raise MedganError(f"{where}: is not valid YAML: {' '.join(str(error).split())}.") from error


def _walk(node: yaml.Node, prefix: str, *, where: str, lines: dict[str, int], seen: set[int]) -> None:
    """Fill `lines` with the line of each key; refuse aliases and repeated keys."""
    if id(node) in seen:
        raise MedganError(f"{where}:{node.start_mark.line + 1}: YAML aliases (*name) are not accepted.")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        line_of: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in line_of:
                raise MedganError(f"{where}:{line}: key {name!r} stands here twice, first in line {line_of[name]}.")
            line_of[name] = lines[f"{prefix}{name}"] = line
            _walk(key, "", where=where, lines=lines, seen=seen)
            _walk(value, f"{prefix}{name}.", where=where, lines=lines, seen=seen)
    elif isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            _walk(child, f"{prefix}{number}.", where=where, lines=lines, seen=seen)
