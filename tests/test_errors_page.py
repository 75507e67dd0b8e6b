"""The mistakes of docs/errors.md are made, and give the messages that stand there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.cli import main
from edgecnn.measurement import to_document
from edgecnn.testing import FakeTarget

PAGE = Path(__file__).parents[1] / "docs/errors.md"
CLASSIFIER = Path(__file__).parent / "data/classifier.tflite"

ROWS = re.findall(r"^\| `(edgecnn [^`]+)` \| `([^`]+)` \| ", PAGE.read_text(encoding="utf-8"), re.M)

NETWORK = """
from torch import nn


def make() -> nn.Module:
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(*layers)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the commands of the page name."""
    import torch
    from PIL import Image

    path = tmp_path_factory.mktemp("errors")
    (path / "mynet.py").write_text(NETWORK)
    known: dict[str, object] = {}
    exec(NETWORK, known)
    network = known["make"]()  # type: ignore[operator]
    torch.save(network.state_dict(), path / "mynet.pth")
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)).state_dict(), path / "other.pth")
    torch.save({"model": torch.nn.Conv2d(1, 1, 1)}, path / "whole.pth")
    image = Image.new("L", (12, 12))
    for place in ("flat", *(f"images/{part}/{kind}" for part in ("train", "val") for kind in "abc")):
        (path / place).mkdir(parents=True)
        image.save(path / place / "0.png")
    x = np.zeros((20, 1, 12, 12), np.uint8)
    np.savez(path / "unlabelled.npz", x=x)
    np.savez(path / "from_one.npz", x=x, y=np.arange(20) % 3 + 1)
    np.savez(path / "two.npz", x=x, y=np.arange(20) % 2)
    shutil.copy(CLASSIFIER, path / "m.tflite")
    (path / "pointer.tflite").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (path / "notes.json").write_text('{"accuracy": 0.93}')
    shutil.copy(CLASSIFIER, path / "other.tflite")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        measured = edgecnn.measure("other.tflite", target=FakeTarget())
    (path / "before.json").write_text(json.dumps(to_document([measured])))
    (path / "ssh_config").write_text("Host raspberrypi.local\n  HostName 127.0.0.1\n  Port 1\n")
    return path


@pytest.mark.parametrize(("command", "message"), ROWS, ids=[str(number) for number in range(len(ROWS))])
def test_the_mistake_gives_the_message(
    folder: Path, command: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command of the page ends with 2 and the line that stands beside it (… is any text), and writes nothing."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("EDGECNN_DATA", raising=False)
    monkeypatch.setenv("EDGECNN_SSH_CONFIG", str(folder / "ssh_config"))
    if "matplotlib" in message:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    if "ssh://" in command and shutil.which("ssh") is None:
        pytest.skip("no ssh program here")
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    given = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch("edgecnn: " + ".*".join(map(re.escape, message.split("…"))), given), given
    assert ended.value.code == 2
    assert [path for path in sorted(folder.rglob("*")) if path not in before and "__pycache__" not in path.parts] == []


def test_the_page_has_the_usual_mistakes() -> None:
    """There are 25 or more, each is read by the test above, and each says what to do."""
    table_rows = re.findall(r"^\| `edgecnn .*\|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(table_rows) == len(ROWS) >= 25
    assert all(row.split(" | ")[2].rstrip(" |") for row in table_rows)
