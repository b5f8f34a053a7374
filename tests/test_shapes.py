"""Every tensor that a public function takes says its shape, which beartype checks wherever tests call it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "sstlib").rglob("*.py"))
ARRAYS = {"Tensor", "torch.Tensor", "ndarray", "np.ndarray", "numpy.ndarray"}


def bare(annotation):
    """Whether an annotation has an array in it without a shape, as Float[Tensor, "height width"] has one."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):  # of a class not yet defined
        return annotation.value in ARRAYS
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
        kind, *shape = annotation.slice.elts
        if ast.unparse(kind) in ARRAYS and shape and isinstance(shape[0], ast.Constant) and shape[0].value is not ...:
            return False
    if isinstance(annotation, ast.Name | ast.Attribute):
        return ast.unparse(annotation) in ARRAYS
    return any(map(bare, ast.iter_child_nodes(annotation)))


def unshaped(body, owner="", inherits=False):
    """Public functions and methods with the arguments that are tensors of any shape, or of which nothing is said; what
    Triton compiles takes addresses, and a method of a subclass may leave its arguments to the class above.
    """
    for node in body:
        if getattr(node, "name", "_").startswith("_") and getattr(node, "name", "") not in ("__init__", "__call__"):
            continue
        if isinstance(node, ast.ClassDef):
            yield from unshaped(node.body, f"{node.name}.", bool(node.bases))
        elif isinstance(node, ast.FunctionDef) and not any("jit" in ast.unparse(d) for d in node.decorator_list):
            each = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs,
                    *filter(None, (node.args.vararg, node.args.kwarg))]
            for argument in each[bool(owner and each and each[0].arg in ("self", "cls")):]:
                if bare(argument.annotation) if argument.annotation else not inherits:
                    yield f"{owner}{node.name}({argument.arg})"


@pytest.mark.parametrize("header, names", [
    ("f(x: Tensor)", ["f(x)"]), ("f(x)", ["f(x)"]), ("f(*x: torch.Tensor, y: int)", ["f(x)"]), ("_f(x: Tensor)", []),
    ("f(x: Float[Tensor, 'height width'])", []), ("f(x: Float[Tensor, 'height'] | None, y: Tensor | None)", ["f(y)"]),
    ("f(x: list[np.ndarray], y: dict[str, UInt8[np.ndarray, '...']])", ["f(x)"]),
    ("f(x: Callable[[Tensor], int], y: tuple[Tensor, ...], z: 'Tensor')", ["f(x)", "f(y)", "f(z)"]),
])
def test_a_tensor_without_a_shape_is_noticed(header, names):
    assert list(unshaped(ast.parse(f"def {header}: 1").body)) == names
    method = ast.parse(f"class C:\n    def {header.replace('(', '(self, ')}: 1").body
    assert list(unshaped(method)) == [f"C.{name}" for name in names]
    assert not list(unshaped(ast.parse("class C(B):\n    def f(self, x): 1").body))


def test_every_tensor_of_a_public_function_has_a_shape():
    faults = {str(path.relative_to(ROOT)): names for path in SOURCES
              if (names := list(unshaped(ast.parse(path.read_text()).body)))}
    assert SOURCES and not faults
