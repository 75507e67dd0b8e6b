"""The floors: an import points down, siblings leave each other alone, heavy packages stay in their rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "edgecnn"

#: Part of the package → its floor, from the ground up.
FLOORS = {
    part: floor
    for floor, parts in enumerate(
        (
            "errors short_repr units tables parsing shipped files locks progress normalization host user_code",
            "formats tasks runtimes",
            "artifact checkpoint device recipe samples measurement",
            "nets datasets",
            "compress export targets fit estimate",
            "evaluate",
            "benchmarks",
            "pipeline study report testing",
            "demo doctor",  # the whole way once: pipeline, then report; what is installed
            "cli",
            "__main__",
        )
    )
    for part in parts.split()
}
GROUND = 0  # its parts may use each other: a unit that does not parse raises an error

#: Package → the parts, or the files, that may import it.
ROOMS = {
    "torch": ("nets", "compress", "export", "checkpoint"),
    "torchvision": ("nets", "compress", "export", "checkpoint", "datasets.places"),  # places: downloads, on request
    "timm": ("nets",),
    "torch_pruning": ("compress",),
    "litert_torch": ("export",),
    "ai_edge_quantizer": ("export",),
    "litert_quantizer": ("export",),
    "onnxsim": ("export",),
    "ai_edge_litert": ("runtimes.litert",),
    "tflite_runtime": ("runtimes.litert",),
    "ai_edge_litert.schema_py_generated": ("export",),  # the file format, not the runtime
    "onnxruntime": ("runtimes.onnxruntime", "export.simplify"),  # the latter: one sample, to check a rewritten graph
    "openvino": ("runtimes.openvino",),
    "onnxruntime.quantization": ("export",),  # the quantizer, not the runtime
    "sklearn": ("datasets",),
    "pycocotools": ("tasks.detection",),
}

#: Heavy for a start, so imported inside functions, wherever that is.
LATE = ("rich", "onnx", "matplotlib", "PIL", "sklearn", "torchvision")


def modules() -> list[tuple[str, ast.Module]]:
    """Return `("formats.graph", tree)` of every file of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.append((name, ast.parse(path.read_text(encoding="utf-8"))))
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module that the tree names, at the top, in functions, and by `require` and `import_module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("require", "import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def imported_parts(tree: ast.AST) -> set[str]:
    """Return the parts of edgecnn that the tree imports; names of the root package (`__version__`) are none."""
    named = (name.split(".") for name in imports(tree) if name.startswith("edgecnn."))
    return {name[1] for name in named if name[1] in FLOORS}


@pytest.fixture(scope="module")
def trees() -> list[tuple[str, ast.Module]]:
    """Every file, read once."""
    return modules()


def test_every_part_has_its_floor(trees: list[tuple[str, ast.Module]]) -> None:
    """A file that belongs to no floor is found, so that nobody forgets to say where it stands."""
    parts = {name.split(".")[0] for name, _ in trees if name}
    assert parts <= set(FLOORS), f"say in FLOORS where these stand: {sorted(parts - set(FLOORS))}"


def test_imports_point_down(trees: list[tuple[str, ast.Module]]) -> None:
    """No file imports from a floor above its own, nor from a sibling on its floor."""
    wrong = []
    for name, tree in trees:
        part = name.split(".")[0]
        if not part:
            continue
        for other in imported_parts(tree) - {part}:
            sibling = FLOORS[other] == FLOORS[part] != GROUND
            if FLOORS[other] > FLOORS[part] or sibling:
                wrong.append(f"edgecnn.{name} imports edgecnn.{other}{' (a sibling)' if sibling else ' (above it)'}")
    assert not wrong, "\n".join(wrong)


def test_the_root_imports_nothing_of_its_own(trees: list[tuple[str, ast.Module]]) -> None:
    """`import edgecnn` loads no part of edgecnn: names come on first use."""
    root = next(tree for name, tree in trees if not name)
    at_once = [node for node in root.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not imported_parts(ast.Module(at_once, []))


def test_heavy_packages_stay_in_their_rooms(trees: list[tuple[str, ast.Module]]) -> None:
    """Torch is imported in nets, compress and export alone, and each runtime in its own file alone."""
    wrong = []
    for name, tree in trees:
        for module in imports(tree):
            # The longest package that has a room decides: `onnxruntime.quantization` is not `onnxruntime`.
            package = max((p for p in ROOMS if module == p or module.startswith(f"{p}.")), key=len, default=None)
            if package and not any(name == room or name.startswith(f"{room}.") for room in ROOMS[package]):
                wrong.append(f"edgecnn.{name} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_heavy_packages_come_late(trees: list[tuple[str, ast.Module]]) -> None:
    """What takes long to import is imported inside functions; outside nets, compress and export torch is too."""
    wrong = []
    for name, tree in trees:
        top = ast.Module([node for node in tree.body if not isinstance(node, ast.If)], [])  # not `if TYPE_CHECKING`
        outside = [node for node in top.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
        late = LATE if name.split(".")[0] in ("nets", "compress", "export") else (*LATE, *ROOMS)
        loaded = {module.split(".")[0] for node in outside for module in imports(node)}
        wrong += [f"edgecnn.{name} imports {package} at its top" for package in sorted(loaded & set(late))]
    assert not wrong, "\n".join(wrong)
