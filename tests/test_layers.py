"""Imports point one way along the pipeline, start-up stays light, and what is unsafe stays out."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "medgan"
SOURCES = sorted(PACKAGE.rglob("*.py"))

BASE = {"errors", "files", "strict_yaml", "labels", "config", "device", "progress", "provenance"}
ROOMS = (
    "volume",
    "manifest",
    "preprocessing",
    "inspection",
    "networks",
    "training",
    "inference",
    "outputs",
    "evaluation",
    "report",
)
PHANTOM = {"phantom"}
ABOVE = {"experiment": 1, "pipeline": 2, "quickstart": 3, "cli": 4, "__main__": 5}
WITHOUT_TORCH = {"manifest", "volume", "evaluation", "report"}


def unit_of(module: str) -> str:
    """Return the room or base file a dotted module belongs to: "volume" of "medgan.volume.nifti"."""
    return [*module.split("."), ""][1]


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything a file imports, inside functions and for type checkers as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield node.lineno, str(node.module)
            if node.module in {"medgan", *(f"medgan.{room}" for room in ROOMS)}:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def allowed_for(unit: str) -> set[str]:
    """Return what files of a room, or a base file, may import from medgan."""
    if unit == "errors":
        return set()
    if unit in BASE:
        return BASE | ({"manifest"} if unit == "provenance" else set())
    if unit in ROOMS:
        return BASE | set(ROOMS[: ROOMS.index(unit) + 1])
    if unit in PHANTOM:
        return BASE | PHANTOM | {"manifest", "volume"}
    lower = {name for name, height in ABOVE.items() if height <= ABOVE.get(unit, 0)}
    return BASE | set(ROOMS) | PHANTOM | lower | {"__version__"}


def faults_of(path: Path) -> list[str]:
    """Return each import of a file that points the wrong way."""
    unit = unit_of(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
    found = []
    for line, module in imports_of(path):
        name, package = unit_of(module), module.split(".")[0]
        if package == "medgan" and name not in {*allowed_for(unit), ""}:
            found.append(f"{path.name}:{line} imports {module}")
        if package in {"torch", "monai"} and unit in WITHOUT_TORCH:
            found.append(f"{path.name}:{line} imports {module}")
        if module.startswith("medgan.device") and unit in WITHOUT_TORCH:
            found.append(f"{path.name}:{line} imports torch by {module}")
    return found


def test_every_file_has_its_place() -> None:
    units = {unit_of(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)) for path in SOURCES}
    assert units - {"__init__"} <= BASE | set(ROOMS) | PHANTOM | set(ABOVE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_left(path: Path) -> None:
    if path != PACKAGE / "__init__.py":  # the names people type, which come from everywhere
        assert faults_of(path) == []


def test_walk_finds_imports_wherever_they_hide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "medgan" / "volume"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "medgan")
    path = folder / "nifti.py"
    path.write_text(
        "from medgan.errors import MedganError\nfrom medgan.volume import affine\n"
        "def f():\n    from medgan import report\n    import torch.nn\n    import medgan.pipeline\n"
    )
    assert [fault.partition(" ")[2] for fault in faults_of(path)] == [
        "imports medgan.report",
        "imports torch.nn",
        "imports medgan.pipeline",
    ]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import medgan.cli", "torch monai SimpleITK nibabel scipy pydicom matplotlib skimage"),
        ("import medgan.volume.readers, medgan.volume.writers, medgan.manifest.read", "torch monai"),
        ("import medgan.evaluation.scores, medgan.report.html, medgan.report.summary", "torch monai"),
    ],
)
def test_import_does_not_bring_what_it_does_not_need(statement: str, absent: str) -> None:
    program = f"{statement}\nimport sys\nprint(*[name for name in {absent.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_lps_is_converted_in_one_place() -> None:
    """Only `volume/affine.py` flips x and y; everything else calls it."""
    definitions, flips = [], []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        definitions += [path.name for _ in re.finditer(r"def \w*lps\w*\(", text)]
        flips += [path.name for _ in re.finditer(r"-1(\.0?)?, *-1(\.0?)?, *1(\.0?)?", text)]
    assert definitions == ["affine.py"]
    assert flips == ["affine.py"]


FORBIDDEN_IMPORTS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "monai.bundle"}
FORBIDDEN_NAMES = {"ConfigParser", "PersistentDataset", "CacheNTransDataset", "extractall"}


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    """Yield calls that run or unpickle what a file says."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in FORBIDDEN_NAMES:
                yield f"line {node.lineno}: {name}"
        if not isinstance(node, ast.Call):
            continue
        called, options = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        if called in {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}:
            yield f"line {node.lineno}: {called}"
        if called == "torch.load" and options.get("weights_only") != "True":
            yield f"line {node.lineno}: torch.load without weights_only=True"
        if options.get("allow_pickle", "False") != "False" or options.get("shell", "False") != "False":
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_runs_or_unpickles_what_a_file_says(path: Path) -> None:
    modules = {module for _, module in imports_of(path)}
    assert not [module for module in modules if module in FORBIDDEN_IMPORTS or module.startswith("monai.bundle")]
    assert list(unsafe_calls(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "text",
    [
        "eval('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, Loader=yaml.Loader)",
        "monai.bundle.ConfigParser()",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_search_for_unsafe_calls_finds_them(text: str) -> None:
    assert list(unsafe_calls(ast.parse(text)))


def test_search_for_unsafe_calls_leaves_safe_ones() -> None:
    assert (
        list(unsafe_calls(ast.parse("network.eval(); torch.load(path, weights_only=True); yaml.safe_load(text)"))) == []
    )
