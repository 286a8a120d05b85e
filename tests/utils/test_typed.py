"""Options against the types of a signature: nothing is converted."""

import pytest

from mmlearngene import LearngeneError
from mmlearngene.utils.typed import check_types


def example(
    number: int, share: float = 0.5, name: str | None = None, *, pair: tuple[int, int] = (1, 2), on: bool = False
): ...


@pytest.mark.parametrize(
    "options", [dict(number=3), dict(share=1), dict(name=None), dict(pair=[3, 4]), dict(on=True), dict(unknown="x")]
)
def test_what_a_signature_says_is_taken(options):
    check_types(example, options)


@pytest.mark.parametrize(
    "options",
    [
        dict(number="3"), dict(number=True), dict(number=3.0), dict(share="0.5"), dict(share=float("nan")),
        dict(name=3), dict(pair=[1, 2, 3]), dict(pair=["1", 2]), dict(on=1), dict(on="true"),
    ],
)  # fmt: skip
def test_what_would_have_to_be_converted_is_refused(options):
    (name,) = options
    with pytest.raises(LearngeneError, match=f"^{name}="):
        check_types(example, options)
