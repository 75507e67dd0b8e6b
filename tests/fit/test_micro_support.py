"""What TFLite Micro runs, with its own interpreter as the oracle: each operator in each type, and public files."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecnn.fit import check_fit
from edgecnn.fit.micro import plan_micro
from edgecnn.fit.micro_support import RULES, unsupported_by_micro
from edgecnn.formats import read_graph

one_operator = pytest.importorskip("one_operator", reason="needs ai_edge_litert's schema to build files")

HERE = Path(__file__).parents[1]
SHARED = HERE.parent / "../shared/cases/tflite"
MIB = 2**20
#: Of the limits: those that make a file no converter writes (shapes that disagree), or that depend on the values.
UNFAIR = {"DYNAMIC_UPDATE_SLICE": "rank", "EXPAND_DIMS": "rank", "MIRROR_PAD": "rank", "DIV": "computed"}
UNFAIR |= {"FLOOR_DIV": "computed", "FLOOR_MOD": "computed", "TRANSPOSE": "rank", "PAD": "rank", "PADV2": "rank"}
#: Kernels accept these, or read them as something else; no converter writes them.
STRICTER = ("LOGICAL_AND", "LOGICAL_OR")
#: Kernels with limits beyond types and scales.
LIMITED = (
    *("ADD_N", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "CONV_2D"),
    *("DEPTHWISE_CONV_2D", "FILL", "FULLY_CONNECTED", "MEAN", "PACK", "PAD", "REDUCE_MAX", "RESIZE_BILINEAR"),
    *("SLICE", "SOFTMAX", "SPLIT", "SPLIT_V", "STRIDED_SLICE", "SVDF", "TRANSPOSE", "TRANSPOSE_CONV"),
)


def files() -> Iterator[tuple[str, bytes]]:
    """Yield every operator in every type, and for each type that runs in one the limits of its kernel."""
    yield from one_operator.files()
    for kind in LIMITED:
        for name, limit in one_operator.limits(kind, one_operator.CASES[kind]):
            if (
                not name.startswith(("constant", "broadcast", "per_tensor", UNFAIR.get(kind, "-")))
                and "out" not in name
            ):
                yield f"{kind}.int8.{name}", one_operator.build(kind, limit, "int8")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Name → (file, what the interpreter says of it, also whether it runs in the arena that is told)."""
    if importlib.util.find_spec("tflite_micro") is None:
        pytest.skip("tflite-micro is not installed: pip install 'edgecnn[mcu]'")
    folder = tmp_path_factory.mktemp("operators")
    paths = {name: folder / f"{name}.tflite" for name, _ in files()}
    for name, content in files():
        paths[name].write_bytes(content)
    paths |= {path.name: path for path in sorted(SHARED.glob("*.tflite"))}
    told = [f"{path}@{plan_micro(read_graph(path), 8).total_bytes}" for path in paths.values()]
    run = subprocess.run(
        [sys.executable, HERE / "micro_oracle.py", *told], capture_output=True, text=True, check=True, timeout=1800
    )
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    return {name: (path, answer) for (name, path), answer in zip(paths.items(), answers, strict=True)}


@pytest.mark.slow
def test_nothing_that_the_interpreter_refuses_is_supported(asked: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """Whatever the interpreter refuses, `fit` calls unsupported."""
    refused = {name: path for name, (path, answer) in asked.items() if not answer["runs"]}
    loose = {
        name: asked[name][1]["why"] for name, path in refused.items() if not unsupported_by_micro(read_graph(path))
    }
    assert loose == {}
    assert len(refused) > 200


@pytest.mark.slow
def test_what_runs_is_supported(asked: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """What the interpreter runs in each operator's own types is supported."""
    runs = {name: path for name, (path, answer) in asked.items() if answer["runs"]}
    plain = [name for name in runs if len(name.split(".")) == 2 or "shared" in str(runs[name])]
    strict = {name: unsupported_by_micro(read_graph(runs[name])) for name in plain if not name.startswith(STRICTER)}
    assert {name: said for name, said in strict.items() if said} == {}
    assert {name.partition(".")[0] for name in plain} >= set(one_operator.CASES)


@pytest.mark.slow
def test_told_arenas_run_and_heads_are_exact(asked: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """Every file that is supported runs in the arena that is told for a 64-bit host; head and tail are exact."""
    wrong = {}
    for name, (path, answer) in asked.items():
        graph = read_graph(path)
        if answer["runs"] and not unsupported_by_micro(graph):
            arena = plan_micro(graph, 8)
            if (arena.head_bytes, arena.tail_bytes, True) != (answer["head"], answer["tail"], answer["runs_in"]):
                wrong[name] = (arena.head_bytes, arena.tail_bytes, answer)
    assert wrong == {}


def test_every_rule_has_a_sentence_for_the_user() -> None:
    """Each rule's docstring is what the user reads, of one line."""
    for rules in RULES.values():
        for rule in rules:
            assert rule.__doc__
            assert "\n" not in rule.__doc__


@pytest.mark.skipif(not SHARED.is_dir(), reason="no public files beside the checkout")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mobilenet_v1_0.25_128_uint8", "hybrid"),
        ("split_concat_uint8", "CONCATENATION of uint8"),
        ("einsum_int16x8", "BATCH_MATMUL of int16 x int8"),
        ("gather_string", "Strings"),
    ],
)
def test_public_files_that_are_refused(name: str, said: str) -> None:
    """Public files that TFLite Micro refuses do not fit, and the reason is named."""
    report = check_fit(SHARED / f"{name}.tflite", ram_bytes=8 * MIB)
    assert not report.fits
    assert said in " ".join(report.unsupported_operators)
