"""The numbers that network, targets and head agree on; the head reads the rest off the outputs (docs/heads.md, `od-seg`)."""

from __future__ import annotations

WIDTH, HEIGHT = 512, 288  # of the input: 16:9, so that most cameras' pictures fill it
STRIDE = 16  # of the boxes' grid
SLOTS = 2  # objects that a cell may see: first those that are small, then those that are large
LARGE = 48.0  # pixels of the input: the geometric mean of width and height from which an object is large
MASK_STRIDE = 2  # of the areas' map
BOX = 5  # x y w h and objectness, before the classes
GRID = (HEIGHT // STRIDE, WIDTH // STRIDE)  # rows, columns
MAP = (HEIGHT // MASK_STRIDE, WIDTH // MASK_STRIDE)
SCALE = 1 / 255  # of 0..255 pixels, red first
PAD = 114  # grey of what a letterbox adds
