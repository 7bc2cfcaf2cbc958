"""The one error a user can fix, and how several of them are told at once."""

from collections.abc import Sequence


class MedganError(Exception):
    """Something in the user's input, configuration or environment that the user can fix.

    The message is one sentence: what must hold, what was found, what to do, naming the file or argument.
    The command line prints it without a traceback and exits with code 2.
    """


def raise_all(problems: Sequence[str], *, where: str) -> None:
    """Raise one `MedganError` that lists every problem found in `where`; do nothing if there is none.

    Args:
        problems: one sentence each.
        where: the file or argument they were found in; it opens the message.

    Raises:
        MedganError: if `problems` is not empty.
    """
    if not problems:
        return
    if len(problems) == 1:
        raise MedganError(f"{where}: {problems[0]}")
    listed = "\n".join(f"  - {problem}" for problem in problems)
    raise MedganError(f"{where}: {len(problems)} problems:\n{listed}")
