"""Shape annotations by jaxtyping; where it is not installed they become plain comments, so that sstlib still
imports.
"""

from typing import Any

try:
    from jaxtyping import Bool, Float, Int, Shaped, UInt8
except ImportError:  # a machine that only trains needs no shape checks: they run in the tests

    class _Unchecked:
        def __class_getitem__(cls, item: Any) -> Any:
            return Any

    Bool = Float = Int = Shaped = UInt8 = _Unchecked

__all__ = ["Bool", "Float", "Int", "Shaped", "UInt8"]
