"""A camera for the page to look at: blobs that move, models of all three tasks, and the agent that serves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.agent import Agent, camera
from tests.support.broker import Broker
from tests.support.bundles import SIDE, make_signed, write_root
from tests.test_bundle_agent import confirmed

WIDTH, HEIGHT = 640, 360
RED, BLUE = (0, 0, 255), (255, 0, 0)


def scene(red: int, blue: int | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A dark picture with a red blob in this column of a 4x4 grid's first row, and perhaps a blue one in the third row."""
    picture = np.full((HEIGHT, WIDTH, 3), 16, np.uint8)
    wide, tall = WIDTH // 4, HEIGHT // 4
    picture[:tall, red * wide : (red + 1) * wide] = RED
    if blue is not None:
        picture[2 * tall : 3 * tall, blue * wide : (blue + 1) * wide] = BLUE
    return picture


def moving(folder: Path) -> Path:
    """A folder of four pictures: the red blob goes to the right, the blue one stays at the left."""
    folder.mkdir()
    for column in range(4):
        cv2.imwrite(str(folder / f"{column}.png"), scene(column, 0))
    return folder


def classifier() -> bytes:
    """1x3x64x64 RGB in 0..1 -> which of two colours there is more of, (1, 2)."""
    nodes = [
        ("GlobalAveragePool", ["image"], ["mean"]), ("Conv", ["mean", "w"], ["colours"]), ("Flatten", ["colours"], ["flat"]),
        ("Softmax", ["flat"], ["out"]),
    ]  # fmt: skip
    return _model(nodes, [1, 2], weight=[[40, 0, -40], [-40, 0, 40]])


def areas() -> bytes:
    """1x3x64x64 -> background, red, blue per pixel as logits, (1, 3, 64, 64)."""
    return _model([("Conv", ["image", "w"], ["out"])], [1, 3, SIDE, SIDE], weight=[[0, 0, 0], [9, -9, -9], [-9, -9, 9]])


def _model(nodes: list[tuple[str, list[str], list[str]]], shape: list[int], weight: list[list[float]]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array(weight, np.float32)[:, :, None, None], "w")
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, outputs) for kind, inputs, outputs in nodes], "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)], initializer=[weights],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(made.SerializeToString())


def served(folder: Path, broker: Broker, port: int, *more: str, token: str = "", front: str = "") -> Agent:
    """An agent with the camera `front`, the confirmed bundle `blobs` 1.0.0, and the page on `port`."""
    write_root(folder)
    confirmed(folder, make_signed(folder, version="1.0.0"))
    section = camera(moving(folder / "pictures"), Path("blobs"), fps=5.0, publish="every-frame")
    web = f'[web]\nlisten = "127.0.0.1:{port}"\n'
    if token:
        (folder / "token").write_text(token + "\n")
        web += f'token_file = "{folder}/token"\n'
    sections = "\n".join((section + front, *more))
    return Agent(folder, broker.port, sections, agent=f'trust = "{folder}/root.json"', more=web)
