"""The door to the stages: what commands, pages and self-test need of them. Only the assembly imports a stage itself."""

from __future__ import annotations

from camagent.agent import Agent
from camagent.backends import BackendOptions, installed, open_backend
from camagent.backends.auxiliary import is_auxiliary
from camagent.backends.onnx import OnnxProfiler, runtime_version
from camagent.config_check import check
from camagent.filters import FilterRule, for_tracking, rule_for
from camagent.frame import TensorSpec
from camagent.head_fit import HeadFit, fits
from camagent.heads import HEADS, USUAL_SCALE, task_of
from camagent.inputs import named_frames, one_picture, passed_over, picture_frame, rgb_frame, strange_frame
from camagent.messages import Author, body_of
from camagent.models import UsableBundle, usable
from camagent.models import load as load_model
from camagent.mqtt import Observer
from camagent.preprocess import rgb_pixels
from camagent.sources.decoder import ffmpeg_versions
from camagent.steps import RLE, Steps
from camagent.track import Tracker
from camagent.trust_desk import TrustDesk
from camagent.workbench import BackendHung, Reading, Workbench, head_of, heads_for, prepare, read

__all__ = [
    "HEADS",
    "RLE",
    "USUAL_SCALE",
    "Agent",
    "Author",
    "BackendHung",
    "BackendOptions",
    "FilterRule",
    "HeadFit",
    "Observer",
    "OnnxProfiler",
    "Reading",
    "Steps",
    "TensorSpec",
    "Tracker",
    "TrustDesk",
    "UsableBundle",
    "Workbench",
    "body_of",
    "check",
    "ffmpeg_versions",
    "fits",
    "for_tracking",
    "head_of",
    "heads_for",
    "installed",
    "is_auxiliary",
    "load_model",
    "named_frames",
    "one_picture",
    "open_backend",
    "passed_over",
    "picture_frame",
    "prepare",
    "read",
    "rgb_frame",
    "rgb_pixels",
    "rule_for",
    "runtime_version",
    "strange_frame",
    "task_of",
    "usable",
]
