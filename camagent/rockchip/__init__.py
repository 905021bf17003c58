"""Rockchip's converter and simulator, `rknn-toolkit2`, in an environment and a process of its own.

It pins NumPy 1 and an old onnx, prints what it likes and may crash, so nothing of it is ever imported here:

    environment.py  finds or makes the virtual environment
    toolkit.py      starts its Python, sends requests, waits with a deadline, shows progress from its log
    worker.py       is what that Python runs; the only file that imports `rknn`
    recipe.py       what the simulator needs, in one file that holds no code
    complaints.py   what the converter says, and what it means
"""
