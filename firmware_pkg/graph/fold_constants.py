"""fold-constants: what onnxslim does well: constants, shape arithmetic, Identity, BatchNormalization into Conv."""

from __future__ import annotations

import logging

from firmware_pkg.graph.network import Network
from firmware_pkg.graph.passes import Change, Wishes

_BIGGEST = 1 << 20  # bytes: a constant that a fold would make; larger ones cost more in the file than they save
# these make two Reshapes around every MatMul of a sequence, which rank-2-matmul does without
_LEFT_OUT = ["FusionGemm", "FusionGemmMul", "FusionGemmAdd"]


def apply(network: Network, wishes: Wishes) -> Change:
    """Runs onnxslim. `places` is by how many the nodes became fewer. Raises whatever onnxslim raises."""
    del wishes
    import onnxslim  # noqa: PLC0415  sympy and the like, for this pass only

    before = len(network.nodes)
    level = logging.getLogger("onnxslim").level
    try:
        made = onnxslim.slim(network.model(), skip_fusion_patterns=_LEFT_OUT, size_threshold=_BIGGEST)
    finally:
        logging.getLogger("onnxslim").setLevel(level)
    network.take(made)
    return Change(max(0, before - len(network.nodes)))
