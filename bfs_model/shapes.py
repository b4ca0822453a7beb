"""Shape annotations, checked by the test run; without jaxtyping they mean just the array type.

`Given[int]` is an int to readers and type checkers; at run time it is anything, since whoever takes it checks it with a message
that callers can use.
"""

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

if TYPE_CHECKING:
    T = TypeVar("T")
    Given = Annotated[T, "checked where it is taken"]
    from jaxtyping import Float as Float
    from jaxtyping import Int as Int
else:

    class Given:
        def __class_getitem__(cls, item: Any) -> Any:
            return Any

    try:
        from jaxtyping import Float, Int
    except ImportError:

        class _ArrayType:
            def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
                return item[0]

        Float = Int = _ArrayType
