"""What the GPU can do at most, measured in the same run: bytes copied, products of the types that are multiplied."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from tesserank_bench.gpu.plan import Shape
from tesserank_bench.gpu.timing import Timer

COPY = "copy"
Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _scaled_fp8(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    one = torch.ones((), device=a.device)
    product: torch.Tensor = torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    return product


PRODUCTS: Mapping[str, tuple[torch.dtype, Product]] = {
    "float16": (torch.float16, torch.mm),
    "bfloat16": (torch.bfloat16, torch.mm),
    "int8": (torch.int8, torch._int_mm),
    "fp8": (torch.float8_e4m3fn, _scaled_fp8),
}


def measure(timer: Timer, device: torch.device, copy_bytes: int, size: int) -> dict[str, float | str]:
    """Bytes/s read and written by a copy, operations/s of square products on random numbers, or why there are none."""
    source = torch.randint(0, 255, (copy_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found: dict[str, float | str] = {COPY: 2 * copy_bytes / timer(lambda: target.copy_(source))}
    for name, (dtype, product) in PRODUCTS.items():
        try:
            found[name] = 2 * size**3 / timer(_product(dtype, product, size, device))
        except (RuntimeError, NotImplementedError) as error:  # what torch raises where it has no such product here
            found[name] = f"not measured: {str(error).splitlines()[0]}"
    return found


def _product(dtype: torch.dtype, product: Product, size: int, device: torch.device) -> Callable[[], object]:
    """A product of random numbers of a type; the right side column by column, as fp8 wants it and int8 likes it."""
    a, b = (torch.randn((size, size), device=device) for _ in range(2))
    if dtype == torch.int8:
        a, b = (torch.round(50 * each).clamp(-127, 127) for each in (a, b))
    left, right = a.to(dtype), b.to(dtype).T
    return lambda: product(left, right)


def floor_seconds(shape: Shape, ceilings: Mapping[str, float | str]) -> float | None:
    """The least that a shape can take: the larger of its bytes' and its operations' time. None without a ceiling.

    Bytes are read at the rate of a copy, which reads and writes.
    """
    copied, multiplied = ceilings[COPY], ceilings[shape.multiplied]
    if isinstance(copied, str) or isinstance(multiplied, str):
        return None
    return max(shape.bytes / copied, shape.operations / multiplied)
