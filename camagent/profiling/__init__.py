"""Where a model's time goes: recordings of ONNX Runtime, Rockchip and Ascend in, one profile and its advice out.

recording.py -> kinds.py, blocks.py -> summary.py -> advice.py -> flame.py, page.py, timeline.py; measure.py makes a recording.
"""
