from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.rules.source_tree import PACKAGES, PURE, ROOT, imports, sources

IMPURE = {
    "asyncio", "threading", "multiprocessing", "subprocess", "socket", "os", "time", "av", "openvino", "tensorflow",
    "keras", "aiortc", "mtcnn", "fastapi",
}
TRAINING_ONLY = {"tensorflow", "keras", "mtcnn"}
MAY_IMPORT_TRAINING_STACK = {Path("detector/xception_keras.py"), Path("detector/benchmark.py")}


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_left_only(package: str) -> None:
    allowed = set(PACKAGES[: PACKAGES.index(package) + 1])
    wrong = {
        str(path): sorted(found)
        for path, tree in sources().items()
        if path.parts[0] == package and (found := (roots(imports(tree)) & set(PACKAGES)) - allowed)
    }
    assert not wrong


def test_the_core_has_no_io() -> None:
    wrong = {}
    for package, stems in PURE.items():
        for stem in stems:
            path = Path(package) / f"{stem}.py"
            assert path in sources(), f"{path} is listed as pure but does not exist"
            if found := roots(imports(sources()[path])) & IMPURE:
                wrong[str(path)] = sorted(found)
    assert not wrong


def test_only_training_code_knows_tensorflow() -> None:
    wrong = [
        str(path)
        for path, tree in sources().items()
        if roots(imports(tree)) & TRAINING_ONLY
        and path.parts[:2] != ("detector", "training")
        and path not in MAY_IMPORT_TRAINING_STACK
    ]
    assert not wrong


def test_the_environment_is_read_in_one_place() -> None:
    reads = re.compile(r"environ\.get|environ\[|getenv\(")
    readers = {str(path) for path in sources() if reads.search((ROOT / path).read_text())}
    assert readers <= {"api/settings/base.py"}


def test_media_from_clients_is_never_opened_by_opencv() -> None:
    assert not [str(path) for path in sources() if "VideoCapture(" in (ROOT / path).read_text()]


def test_nothing_is_unpickled() -> None:
    assert not [
        str(path)
        for path, tree in sources().items()
        if roots(imports(tree)) & {"pickle", "joblib", "shelve", "dill"} and path.parts[:2] != ("detector", "training")
    ]
