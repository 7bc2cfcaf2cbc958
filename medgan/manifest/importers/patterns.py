"""Glob patterns that tell what each wildcard matched."""

import re
from pathlib import PurePosixPath

_WILDCARDS = {
    "**/": "((?:[^/]+/)*)",  # any number of folders, none included
    "**": "(.*)",
    "*": "([^/]*)",
    "?": "([^/])",
}


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for a relative path, with a group for each `*`, `**` and `?` of the pattern.

    Example:
        >>> compile_pattern("*/ct.nii.gz").fullmatch("p1/ct.nii.gz").groups()
        ('p1',)
    """
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(_WILDCARDS.get(part, re.escape(part)) for part in parts), re.DOTALL)


def matches(pattern: str, path: PurePosixPath) -> bool:
    """Return whether a pattern fits a relative path, or the name at its end; an empty one fits all."""
    compiled = compile_pattern(pattern)
    return not pattern or any(compiled.fullmatch(text) for text in (str(path), path.name))
