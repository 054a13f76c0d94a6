"""What is given up of the kernel's privileges, where the kernel does not say which there are."""

from __future__ import annotations

import ctypes
import errno

import pytest

from workers.sandbox import kernel


@pytest.mark.parametrize("look", [kernel.to_drop_capabilities, kernel.bounding_set])
def test_a_kernel_that_may_not_be_asked_is_no_kernel_without_capabilities(
    look: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: int) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(kernel, "_asked", refused)
    with pytest.raises(PermissionError):
        look()  # type: ignore[operator]


def test_every_capability_that_there_is_is_given_up() -> None:
    assert len(kernel.to_drop_capabilities()) > 36
