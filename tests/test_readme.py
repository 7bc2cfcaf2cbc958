"""What the documents tell people to type and to open is there."""

import re
from pathlib import Path

import pytest
import typer

from medgan.cli import app

ROOT = Path(__file__).parents[1]
DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "data_manifests/README.md", *DOCS)
SET_UP = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e"


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def code_in(document: str) -> str:
    """Return everything in a document that is set as code, a line for each piece."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text_of(document), re.DOTALL))


def options_of(command: str) -> set[str]:
    parameters = typer.main.get_command(app).commands[command].params
    return {name for parameter in parameters for name in parameter.opts} | {"--help"}


def commands_in(document: str) -> list[tuple[str, str]]:
    """Return each `medgan COMMAND REST` in the code of a document."""
    return re.findall(r"(?<!import )\bmedgan ([a-z]\w*)([^`\n]*)", code_in(document))


def test_two_commands_do_all_the_set_up():
    readme = text_of("README.md").splitlines()
    assert f"{SET_UP} . && .venv/bin/medgan quickstart" in readme[:30]
    assert f"{SET_UP} '.[dev]' && .venv/bin/pytest" in readme[:30]


def test_ci_runs_the_readmes_test_command():
    lines = [line for line in text_of("README.md").splitlines() if line.endswith("&& .venv/bin/pytest")]
    assert len(lines) == 1
    assert "README.md" in text_of(".ci/run")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_options_named_exist(document):
    known = set(typer.main.get_command(app).commands)
    for command, rest in commands_in(document):
        assert command in known, f"{document}: medgan {command}"
        named = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest))
        assert named <= options_of(command), f"{document}: medgan {command}{rest}"


def test_every_command_is_in_the_readme():
    assert {command for command, _ in commands_in("README.md")} == set(typer.main.get_command(app).commands)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_relative_links_lead_to_files(document):
    targets = re.findall(r"\]\(([^)#\s]+)", text_of(document))
    missing = [t for t in targets if ":" not in t and not ((ROOT / document).parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_to_a_section_lead_to_its_heading(document):
    for target, anchor in re.findall(r"\]\(([^):\s]*)#([^)]+)\)", text_of(document)):
        linked = (ROOT / document).parent / target if target else ROOT / document
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
