"""Heads decode a model's outputs. A new one is one file, one line in HEADS, one test and one paragraph in docs/heads.md."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType

from camagent.errors import HeadMismatch
from camagent.heads.base import Decoded, Head, HeadContext, HeadFactory, SemanticMap, Sighting

# name -> (module, factory, task)
HEADS = MappingProxyType({
    "classify": ("camagent.heads.classify", "Classify", "classify"),
    "fastestdet": ("camagent.heads.fastestdet", "FastestDet", "detect"),
    "semantic": ("camagent.heads.semantic", "Semantic", "segment"),
    "ultraface": ("camagent.heads.ultraface", "UltraFace", "detect"),
    "nanodet": ("camagent.heads.nanodet", "NanoDet", "detect"),
    "nanodet-plus": ("camagent.heads.nanodet_plus", "NanoDetPlus", "detect"),
    "od-seg": ("camagent.heads.od_seg", "OdSeg", "detect-segment"),
    "ppyoloe": ("camagent.heads.ppyoloe", "PpYoloe", "detect"),
    "ppyoloe-rknn": ("camagent.heads.ppyoloe_rknn", "PpYoloeRknn", "detect"),
    "rtdetr": ("camagent.heads.rtdetr", "RtDetr", "detect"),
    "ssd": ("camagent.heads.ssd", "Ssd", "detect"),
    "ssd-raw": ("camagent.heads.ssd_raw", "SsdRaw", "detect"),
    "yolop": ("camagent.heads.yolop", "YoloP", "detect-segment"),
    "yolov5": ("camagent.heads.yolov5", "YoloV5", "detect"),
    "yolov5-rknn": ("camagent.heads.yolov5_rknn", "YoloV5Rknn", "detect"),
    "yolov5-seg": ("camagent.heads.yolov5_seg", "YoloV5Seg", "detect-segment"),
    "yolov5-seg-rknn": ("camagent.heads.yolov5_seg_rknn", "YoloV5SegRknn", "detect-segment"),
    "yolov6": ("camagent.heads.yolov6", "YoloV6", "detect"),
    "yolov6-rknn": ("camagent.heads.yolov6_rknn", "YoloV6Rknn", "detect"),
    "yolov7": ("camagent.heads.yolov7", "YoloV7", "detect"),
    "yolov7-rknn": ("camagent.heads.yolov7_rknn", "YoloV7Rknn", "detect"),
    "yolov7-end2end": ("camagent.heads.yolov7_end2end", "YoloV7End2End", "detect"),
    "yolov8": ("camagent.heads.yolov8", "YoloV8", "detect"),
    "yolov8-rknn": ("camagent.heads.yolov8_rknn", "YoloV8Rknn", "detect"),
    "yolov8-seg": ("camagent.heads.yolov8_seg", "YoloV8Seg", "detect-segment"),
    "yolov8-seg-rknn": ("camagent.heads.yolov8_seg_rknn", "YoloV8SegRknn", "detect-segment"),
    "yolov10": ("camagent.heads.yolov10", "YoloV10", "detect"),
    "yolov10-rknn": ("camagent.heads.yolov10_rknn", "YoloV10Rknn", "detect"),
    "yolox": ("camagent.heads.yolox", "YoloX", "detect"),
})  # fmt: skip


# what pictures of 0..255 are multiplied with before most models of a family; another scale is worth a word
USUAL_SCALE = MappingProxyType({name: 1 / 255 for name in HEADS if name.startswith(("yolov", "fastestdet"))})


def build_head(name: str, context: HeadContext) -> Head:
    """The decoder `name` for a model. Raises HeadMismatch or LabelCountMismatch when it does not fit the outputs or labels."""
    require_known(name)
    module, attribute, _ = HEADS[name]
    factory: HeadFactory = getattr(import_module(module), attribute)
    return factory(context)


def task_of(name: str) -> str:
    """The manifest task that a head's answer belongs to. Raises HeadMismatch for an unknown name."""
    require_known(name)
    return HEADS[name][2]


def require_known(name: str) -> None:
    """Raises HeadMismatch for a name that is not in the registry."""
    if name not in HEADS:
        raise HeadMismatch(
            f"there is no head {name!r}",
            evidence={"wanted": name, "known": ", ".join(HEADS)},
            fix="name one of the known heads",
        )


__all__ = [
    "HEADS",
    "USUAL_SCALE",
    "Decoded",
    "Head",
    "HeadContext",
    "SemanticMap",
    "Sighting",
    "build_head",
    "require_known",
    "task_of",
]
