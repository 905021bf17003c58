"""Rockchip's NPU simulator on a workstation: bit for bit what the converter expects of an NPU, at a thousandth of its speed.

A model for it is made by `camagent model convert --simulator` (rockchip/recipe.py). The simulator runs in a process of its own,
under the toolkit's own Python; this file only asks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camagent.backends import BackendOptions
from camagent.errors import BackendError
from camagent.frame import TensorSpec
from camagent.rockchip import convert, environment, recipe
from camagent.rockchip.toolkit import StepFailed, Toolkit

OPEN_S, INFER_S = 900.0, 60.0


class RknnSimBackend:
    """One model in one process. A process that died or hung is replaced at the next inference."""

    def __init__(self, model: bytes, options: BackendOptions) -> None:
        """Opens the model in the simulator, which takes seconds. Raises BackendError.

        `options.extra`: `rknn_sim_infer_s`, the deadline of one inference in seconds; `rknn_environment`, a folder.
        """
        self._recipe = recipe.parse(model)
        self._infer_s = float(options.extra.get("rknn_sim_infer_s", INFER_S))
        self.inputs: Sequence[TensorSpec] = (_spec(self._recipe.input),)
        self.outputs: Sequence[TensorSpec] = tuple(_spec(one) for one in self._recipe.outputs)
        named = options.extra.get("rknn_environment")
        self._environment = Path(named) if named else None
        self._toolkit: Toolkit | None = _opened(self._recipe, self._environment)

    def infer(self, tensor: NDArray[np.generic]) -> Sequence[NDArray[np.generic]]:
        """Runs the model once; see `Backend.infer`. Outputs are float32, as the NPU's runtime hands them out."""
        declared = self._recipe.input
        if tensor.shape != declared.shape or tensor.dtype != declared.dtype:
            raise BackendError(
                "the simulator's model takes another input",
                evidence={"given": f"{tensor.shape} {tensor.dtype}", "expected": f"{declared.shape} {declared.dtype}"},
                fix="compare the manifest's input with the one that the model was converted for",
            )
        if self._toolkit is None:
            self._toolkit = _opened(self._recipe, self._environment)
        by_pixel = declared.dtype == "uint8"
        try:
            _, outputs = self._toolkit.ask(
                {"do": "infer", "format": "nhwc" if by_pixel else "nchw"}, [tensor], within_s=self._infer_s
            )
        except StepFailed as exc:
            if not exc.alive:
                self.close()
            raise
        return outputs

    def close(self) -> None:
        """Ends the process."""
        toolkit, self._toolkit = self._toolkit, None
        if toolkit is not None:
            toolkit.close()


def _opened(made: recipe.Recipe, folder: Path | None) -> Toolkit:
    python = environment.find(folder)
    if python is None:
        raise BackendError(
            "Rockchip's simulator is not installed here",
            evidence={"looked for": f"{environment.VARIABLE}, {environment.default_folder()}"},
            fix=f"'camagent model convert' and 'model compare' install it; or name an environment with {environment.VARIABLE}",
        )
    toolkit = Toolkit(python)
    try:
        about, _ = toolkit.ask({"do": "about"}, within_s=convert.ABOUT_S)
        _require_same(made.toolkit, str(about["toolkit"]))
        (toolkit.folder / ("model.model" if made.quantised else "model.onnx")).write_bytes(made.graph)
        (toolkit.folder / "parts.json").write_bytes(made.parts)
        convert.lay_out_calibration(toolkit.folder, made.calibration)
        fixed = convert.sizes(made.input.name, made.input.shape if made.open_sides else None)
        request = {"do": "open", "quantised": made.quantised, "config": made.config(), "sizes": fixed}
        toolkit.ask(request, within_s=OPEN_S)
    except BaseException:
        toolkit.close()
        raise
    return toolkit


def _require_same(made_with: str, here: str) -> None:
    if made_with != here:
        raise BackendError(
            "the simulator's model was made with another version of rknn-toolkit2",
            evidence={"made with": made_with, "installed": here},
            fix="convert the model again, or name an environment of that version with CAMAGENT_RKNN_ENV",
        )


def _spec(port: recipe.Port) -> TensorSpec:
    return TensorSpec(port.name, port.shape, port.dtype)
