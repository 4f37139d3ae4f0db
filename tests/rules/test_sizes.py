from __future__ import annotations

from statistics import median, quantiles

from tests.rules.source_tree import ROOT, functions, length, sources

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_POSITIONAL_PARAMETERS = 5


def line_counts() -> dict[str, int]:
    return {str(path): len((ROOT / path).read_text().splitlines()) for path in sources()}


def test_files_are_small() -> None:
    counts = line_counts()
    assert {name: n for name, n in counts.items() if n > MAX_FILE_LINES} == {}
    assert median(counts.values()) <= 150


def test_functions_are_small() -> None:
    lengths = {
        f"{path}:{node.lineno} {node.name}": length(node)
        for path, tree in sources().items()
        for node in functions(tree)
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES} == {}
    assert median(lengths.values()) <= 8
    assert quantiles(lengths.values(), n=10)[-1] <= 30


def test_positional_parameters_are_few() -> None:
    """Keyword-only parameters are not counted: their names stand at every call."""
    wrong = []
    for path, tree in sources().items():
        for node in functions(tree):
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
            count = len([n for n in names if n not in ("self", "cls")])
            if count > MAX_POSITIONAL_PARAMETERS:
                wrong.append(f"{path}:{node.lineno} {node.name}: {count}")
    assert not wrong


def test_every_function_has_a_return_type() -> None:
    assert not [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in sources().items()
        for node in functions(tree)
        if node.returns is None
    ]
