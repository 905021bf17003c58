"""One name for what every tool calls differently: TransposeD, exTranspose, Transpose -> Transpose.

Kinds are ONNX operator types where there is one. A new alias is one word in the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

OTHER = "Other"

# kind -> what ONNX, ONNX Runtime, CANN and rknn-toolkit2 call it. Not listed, for `kind_of` takes them off: case, CANN's
# trailing D and V2, rknn-toolkit2's leading ex and cst, a Conv's fused activation (ConvRelu, ConvExSwish)
_ALIASES: Mapping[str, str] = MappingProxyType({
    "Conv": "Conv FusedConv QLinearConv DepthwiseConv2D",
    "ConvTranspose": "ConvTranspose Deconvolution Conv2DTranspose Conv2DBackpropInput",
    "MatMul": "MatMul BatchMatMul FusedMatMul TransposeMatMul MatMulInteger QLinearMatMul MatMulIntegerToFloat MatMulNBits",
    "Gemm": "Gemm FusedGemm QGemm FullyConnection FullyConnected InnerProduct Linear",
    "Attention": "Attention MultiHeadAttention GroupQueryAttention SDPA FlashAttentionScore PromptFlashAttention",
    "Transpose": "Transpose Permute ConfusionTranspose",
    "Layout": "TransData ReorderInput ReorderOutput DataConvert FormatTransfer",
    "Reshape": "Reshape Flatten Squeeze Unsqueeze View",
    "ArgMax": "ArgMax ArgMin ArgMaxWithValue",
    "Softmax": "Softmax LogSoftmax QLinearSoftmax",
    "Sigmoid": "Sigmoid HardSigmoid QLinearSigmoid",
    "Resize": "Resize Upsample ResizeBilinear ResizeNearestNeighbor ResizeBicubic SyncResizeBilinear Interp",
    "Concat": "Concat QLinearConcat",
    "Split": "Split SplitV Slice StridedSlice",
    "Pad": "Pad MirrorPad",
    "Pool": "MaxPool AveragePool GlobalAveragePool GlobalMaxPool AvgPool Pooling AdaptiveAvgPool QLinearAveragePool "
            "QLinearGlobalAveragePool",
    "Normalization": "LayerNormalization SkipLayerNormalization SimplifiedLayerNormalization BatchNormalization BNInference "
                     "InstanceNormalization GroupNormalization LayerNorm InstanceNorm BatchNorm GroupNorm Norm RMSNorm "
                     "RMSNormalization LpNormalization LRN",
    "Activation": "Relu Relu6 LeakyRelu PRelu Clip ClipByValue Elu Selu Gelu FastGelu BiasGelu QuickGelu Tanh HardSwish Swish "
                  "SiLU Softplus Mish Erf QLinearLeakyRelu",
    "Elementwise": "Add Sub Mul Div Pow Sqrt Exp Log Max Min Abs Neg Reciprocal Eltwise Where Equal Greater Less Not And Or "
                   "Cos Sin Floor Ceil Round Sum Mean RealDiv Maximum Minimum Square Rsqrt Muls Adds Select BiasAdd AddRelu "
                   "QLinearAdd QLinearMul",
    "Reduce": "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSumExp CumSum",
    "Gather": "Gather GatherElements GatherND Scatter ScatterND ScatterElements OneHot",
    "Suppression": "NonMaxSuppression TopK NMS BatchMultiClassNonMaxSuppression DetectionOutput",
    "Quantize": "QuantizeLinear DequantizeLinear DynamicQuantizeLinear AscendQuant AscendDequant AscendRequant",
    "Identity": "Identity Cast Shape Size Constant ConstantOfShape Range Expand Tile NonZero Dropout BroadcastTo Fill",
    "Input/Output": "InputOperator OutputOperator NetOutput",
    "Control": "If Loop Scan",
    "Recurrent": "LSTM GRU RNN DynamicRNN",
    # by the whole name: CANN's MatMulV2 and V3 multiply two matrices, its BatchMatMulV2 a batch of them
    "Gemm ": "MatMulV2 MatMulV3",
})  # fmt: skip
_LOOKUP: Mapping[str, str] = MappingProxyType(
    {alias.lower(): kind.strip() for kind, aliases in _ALIASES.items() for alias in aliases.split()}
)
KINDS = frozenset({*_LOOKUP.values(), OTHER})
_VERSION = re.compile(r"(?:v\d+d?|\d+d?|d)$")  # SoftmaxV2, ArgMaxD, ResizeBilinearV2D, exSoftmax13, Conv2D
_SHAPE = re.compile(r"(?:_\d+)+$")  # of a custom operator: cstInstanceNormalization_1_128_32_32
_WRAPPED = re.compile(r"^(?:ex|cst)(?=[a-z])")


def kind_of(operator: str) -> str:
    """The kind of a tool's operator type; OTHER where nobody knows it."""
    name = _SHAPE.sub("", operator.strip().lower())
    for candidate in (name, _VERSION.sub("", name), _WRAPPED.sub("", name), _VERSION.sub("", _WRAPPED.sub("", name))):
        if candidate in _LOOKUP:
            return _LOOKUP[candidate]
    return "Conv" if _WRAPPED.sub("", name).startswith("conv") and "transpose" not in name else OTHER
