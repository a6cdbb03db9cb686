"""Scripts as they were before somebody added the lines of telemetry to them."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
OF_FOLDS = {"choosing", "cross_validation"}  # a run for each fold
EXAMPLES = sorted(
    path for path in (TESTS.parent / "examples").glob("*.py") if path.stem not in OF_FOLDS
)
SCRIPTS = sorted((TESTS / "scripts").glob("*.py"))
SIZES = {"N_STEPS": 6, "N_EPOCHS": 1, "WARMUP_STEPS": 2}


def shortened(source: str) -> str:
    """The script with constants that make it end soon."""
    for name, value in SIZES.items():
        source = re.sub(rf"^{name} = [\d_]+$", f"{name} = {value}", source, flags=re.MULTILINE)
    return source


def observed_closely(source: str) -> str:
    """The script with a callback that samples every step, whatever it costs."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_construction(node):
            for name, value in (("every", 1), ("overhead_budget", None)):
                node.keywords.append(ast.keyword(name, ast.Constant(value)))
    return ast.unparse(tree)


def stripped(source: str) -> str:
    """The script without import, construction, calls and `with` of its callback."""
    return ast.unparse(ast.fix_missing_locations(_Stripper().visit(ast.parse(source))))


def _is_construction(node: ast.AST | None) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "TelemetryCallback"
    )


class _Stripper(ast.NodeTransformer):
    def __init__(self) -> None:
        self._names: set[str] = set()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "telemetry" else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        if not _is_construction(node.value):
            return node
        self._names.update(t.id for t in node.targets if isinstance(t, ast.Name))
        return None

    def visit_With(self, node: ast.With) -> ast.AST | Sequence[ast.AST]:
        (item,) = node.items
        ours = _is_construction(item.context_expr)
        if ours and isinstance(item.optional_vars, ast.Name):
            self._names.add(item.optional_vars.id)
        self.generic_visit(node)
        return node.body if ours else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        call = node.value
        if isinstance(call, ast.Call) and self._is_own_attribute(call.func):
            return None
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Constant("") if self._is_own_attribute(node) else self.generic_visit(node)

    def _is_own_attribute(self, node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in self._names
        )
