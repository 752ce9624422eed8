"""What integer MaxSim multiplies with, by processor: an instruction for many small integers at once.

    ==========  ===========================  =====================  =============================================
    arithmetic  instruction                  operations (*)         components
    ==========  ===========================  =====================  =============================================
    AVX2        ``vpmaddwd``, ``vpaddd``     32                     both int16
    VNNI        ``vpdpwssd``                 64                     both int16
    VNNI_BYTES  ``vpdpbusd``                 128                    query int8, item uint8 (BYTE_ZERO added)
    ==========  ===========================  =====================  =============================================

    (*) multiplications and additions an instruction; a core starts two a cycle

Each multiplies neighbouring components of a query token and an item token and adds their products up, in a lane of
int32. What a lane takes of a token, two int16 or four bytes, is "a step": four bytes either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

STEP_BYTES = 4
PACK = 16  # query tokens whose steps lie side by side
PACK_BYTES = PACK * STEP_BYTES
BYTE_ZERO = 128  # what an item's 0 is as a byte


@dataclass(frozen=True)
class Arithmetic:
    """``instruction``: LLVM's name; ``lanes``: int32 in a register; ``depth``: components in a step.

    ``fused``: it adds to sums by itself. ``packs``: those of its widest tile. ``rate``: about how many products a core
    makes in a second. ``zero``: what an item's 0 is.
    """

    instruction: str
    lanes: int
    depth: int
    fused: bool
    packs: int
    rate: float
    zero: int = 0

    @property
    def query_type(self) -> np.dtype[Any]:
        """Of a query token's component."""
        return np.dtype(f"i{STEP_BYTES // self.depth}")

    @property
    def item_type(self) -> np.dtype[Any]:
        """Of an item token's component."""
        return np.dtype(f"{'u' if self.zero else 'i'}{STEP_BYTES // self.depth}")


AVX2 = Arithmetic("llvm.x86.avx2.pmadd.wd", lanes=8, depth=2, fused=False, packs=1, rate=70e9)
VNNI = Arithmetic("llvm.x86.avx512.vpdpwssd.512", lanes=16, depth=2, fused=True, packs=4, rate=200e9)
VNNI_BYTES = Arithmetic(
    "llvm.x86.avx512.vpdpbusd.512", lanes=16, depth=4, fused=True, packs=4, rate=400e9, zero=BYTE_ZERO
)
