"""A table as Markdown and as LaTeX, whatever the names in it are."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_MOST_ROWS_OF_A_PAGE = 40  # a LaTeX table with more is broken over pages
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "`": "{`}",
    "[": "{[}",  # or it would be an argument of the line break before it
    "]": "{]}",
    "*": "{*}",  # likewise
    "-": "{-}",  # two of them would be a dash
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "∩": r"$\cap$",
    "∪": r"$\cup$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "²": "$^2$",
    "³": "$^3$",
    "½": "$1/2$",
    "τ": r"$\tau$",
}


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        label: names it in the LaTeX document; letters and hyphens.
        title: in few words.
        notes: sentences that say what the numbers are.
        header: of each column; the first one holds names and is aligned to the left, the others to the right.
        rows: the cells, as many as there are columns.
    """

    label: str
    title: str
    notes: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def to_markdown(tables: Sequence[Table]) -> str:
    """Return tables as Markdown, each under its title and with its notes below."""
    parts = []
    for table in tables:
        rule = ["---", *["---:"] * (len(table.header) - 1)]
        cells = [list(map(_markdown, table.header)), rule, *(list(map(_markdown, row)) for row in table.rows)]
        lines = [f"| {' | '.join(row)} |" for row in cells]
        parts.append("\n".join([f"## {_markdown(table.title)}", "", *lines, "", _markdown(table.notes), ""]))
    return "\n".join(parts)


def to_latex(tables: Sequence[Table]) -> str:
    """Return tables as LaTeX to be read into a document, which needs the package booktabs.

    Tables too long for a page are a `longtable`, which is a package as well.
    """
    is_long = any(len(table.rows) > _MOST_ROWS_OF_A_PAGE for table in tables)
    needed = ["booktabs", "longtable"] if is_long else ["booktabs"]
    head = f"% \\usepackage{{{','.join(needed)}}}; names beyond Latin letters need lualatex or xelatex\n"
    return head + "".join("\n" + _latex_table(table) for table in tables)


def latex_text(text: str) -> str:
    """Return text that LaTeX prints as it is: nothing in it is a command, and it stays on one line."""
    visible = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)
    return "".join(_LATEX.get(character, character) for character in " ".join(visible.split()))


def _latex_table(table: Table) -> str:
    columns = "l" + "r" * (len(table.header) - 1)
    caption = f"\\caption{{{latex_text(f'{table.title}. {table.notes}')}}}\\label{{tab:{table.label}}}"
    header = f"{_latex_row(table.header)}\n\\midrule"
    rows = "\n".join(map(_latex_row, table.rows))
    if len(table.rows) > _MOST_ROWS_OF_A_PAGE:
        return (
            f"{{\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n\\begin{{longtable}}{{{columns}}}\n{caption}\\\\\n\\toprule\n{header}\n\\endfirsthead\n"
            f"\\toprule\n{header}\n\\endhead\n\\bottomrule\n\\endfoot\n{rows}\n\\end{{longtable}}}}\n"
        )
    return (
        f"\\begin{{table}}\n\\centering\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n{caption}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{header}\n{rows}\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def _markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*\[\]|~$])", r"\\\1", line)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", line)  # within a word it is only itself
