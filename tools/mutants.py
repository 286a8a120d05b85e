"""Changes of one place at a time, and whether a test notices.

    python tools/mutants.py mmlearngene/engine/hooks/finite.py --tests tests/runs/test_faults.py --count 20 --out m.json
    python tools/mutants.py mmlearngene/utils/typed.py --tests "tests/vit/test_spec.py -k 'not help'" --count 10

Comparisons, arithmetic, and/or, numbers, truth values, negations and whole statements are changed, drawn by seed. The
file is put back after each, also after Ctrl-C. A change that lives is shown with its line: it wants a test, or its
code is not needed, or it changes nothing (which no tool can tell).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import json
import os
import random
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_IMPORTED = ("torch", "timm", "sklearn.cluster", "transformers", "mmengine.runner", "mmpretrain.models", "mmseg.models")
_OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Nodes that can be changed, and how; what a message says and what a type is called is left alone."""
    left_alone = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.AnnAssign):
            inner = [node.annotation] if isinstance(node, ast.AnnAssign) else [node]
            left_alone |= {id(each) for part in inner for each in ast.walk(part)}
        if isinstance(node, ast.FunctionDef):
            types = [argument.annotation for argument in [*node.args.args, *node.args.kwonlyargs]] + [node.returns]
            left_alone |= {id(each) for part in types if part for each in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in left_alone:
            continue
        if isinstance(node, ast.Compare | ast.BoolOp | ast.BinOp):
            yield node, "operator"
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            yield node, "constant"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node, "negation"
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            yield node, "condition"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) or isinstance(node, ast.AugAssign):
            yield node, "statement"


def changed(source: str, number: int) -> tuple[str, int, str]:
    """The source with its place ``number`` changed, the line, and the change in words."""
    tree = ast.parse(source)
    node, kind = list(places(tree))[number]
    before = ast.unparse(node).splitlines()[0]
    if kind == "operator":
        holder, name = (node.ops, 0) if isinstance(node, ast.Compare) else (node, "op")
        old = holder[0] if isinstance(node, ast.Compare) else node.op
        new = _OTHER.get(type(old), type(old))()
        if isinstance(node, ast.Compare):
            node.ops[0] = new
        else:
            setattr(holder, name, new)
    elif kind == "constant":
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    elif kind == "negation":
        node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)
    elif kind == "condition":
        node.test = ast.UnaryOp(ast.Not(), copy.deepcopy(node.test))
    else:
        line = ast.Pass()
        for parent in ast.walk(tree):
            for _, block in ast.iter_fields(parent):
                if isinstance(block, list) and node in block:
                    block[block.index(node)] = ast.copy_location(line, node)
        return ast.unparse(ast.fix_missing_locations(tree)), node.lineno, f"`{before}` is left out"
    after = ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]
    return ast.unparse(ast.fix_missing_locations(tree)), node.lineno, f"`{before}` becomes `{after}`"


def noticed(tests: list[str], timeout: float) -> bool:
    """Whether one of the tests fails, or they take longer than they should.

    They run in a fork of this process, which has imported once what is not ours.
    """
    child = os.fork()
    if not child:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        status = 1
        try:
            status = pytest.main(["-q", "-x", "--disable-warnings", "-p", "no:cacheprovider", *tests])
        finally:
            os._exit(int(status))
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status != 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def main() -> None:
    """Change, test, put back, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="the files to change")
    parser.add_argument("--tests", required=True, type=shlex.split, help="what to run: pytest's arguments")
    parser.add_argument("--count", type=int, default=20, help="changes, drawn from all files")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for the tests of one change")
    parser.add_argument("--out", type=Path, help="add what was found to this JSON file")
    args = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    for name in _IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if noticed(args.tests, args.timeout):
        raise SystemExit("the tests fail without any change; expected tests that pass")
    every = [(file, place) for file in args.files for place in range(len(list(places(ast.parse(file.read_text())))))]
    found = []
    for file, place in random.Random(args.seed).sample(every, min(args.count, len(every))):
        source = file.read_text()
        text, line, words = changed(source, place)
        if ast.dump(ast.parse(text)) == ast.dump(ast.parse(source)):
            continue
        try:
            file.write_text(text)
            lives = not noticed(args.tests, args.timeout)
        finally:
            file.write_text(source)
        found.append(dict(file=str(file), line=line, change=words, lives=lives))
        print(f"{'LIVES' if lives else 'noticed':<8}{file}:{line} {words}", flush=True)
    lives = sum(each["lives"] for each in found)
    print(f"{len(found)} changes, {len(found) - lives} noticed, {lives} live")
    if args.out:
        earlier = json.loads(args.out.read_text()) if args.out.is_file() else []
        args.out.write_text(json.dumps([*earlier, *found], indent=1))


if __name__ == "__main__":
    main()
