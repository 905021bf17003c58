"""What profilers write, in the forms that their versions have. Columns and layouts are the tools', numbers are made up."""

from __future__ import annotations

from typing import Any

SUMMARIES = {
    "CANN 5 and 6": (
        (
            "Model Name,Model ID,Task ID,Stream ID,Infer ID,Op Name,OP Type,Task Type,Task Start Time,Task Duration(us),"
            "Task Wait Time(us),Block Dim,Input Shapes,Input Data Types,Input Formats,Output Shapes,Output Data Types,"
            "Output Formats"
        ),
        'seg,1,{task},3,{run},{name},{type},{place},{start}000,{us},0,8,"{inputs}",FLOAT16,NC1HWC0,"{outputs}",FLOAT16,NC1HWC0',
    ),
    "CANN 7 and 8": (
        (
            "Device_id,Model Name,Model ID,Task ID,Stream ID,Infer ID,Op Name,OP Type,OP State,Task Type,Task Start Time(us),"
            "Task Duration(us),Task Wait Time(us),Block Dim,Mix Block Dim,HF32 Eligible,Input Shapes,Input Data Types,"
            "Input Formats,Output Shapes,Output Data Types,Output Formats,Context ID,aicore_time(us),total_cycles"
        ),
        (
            '0,seg,1,{task},3,{run},{name},{type},static,{place},"{start}.25\t",{us},0,8,0,NO,"""{inputs}""",FLOAT16,ND,'
            '"""{outputs}""",FLOAT16,ND,N/A,1.0,10'
        ),
    ),
    "CANN 8.5 and 9": (
        (
            "Device_id,Model ID,Task ID,Stream ID,Op Name,OP Type,OP State,Task Type,Task Start Time(us),Task Duration(us),"
            "Task Wait Time(us),Block Num,Mix Block Num,HF32 Eligible,Input Shapes,Output Shapes"
        ),
        '0,1,{task},3,{name},{type},static,{place},{start}.125,{us},0,8,0,NO,"{inputs}","{outputs}"',
    ),
    "no units": (
        "Op Name,OP Type,Task Type,Task Start Time,Task Duration,Input Shapes,Output Shapes",
        '{name},{type},{place},{start}.5,{us},"{inputs}","{outputs}"',
    ),
    "the PyTorch profiler's kernel_details": (
        (
            "Step Id,Device_id,Model ID,Task ID,Stream ID,Name,Type,OP State,Accelerator Core,Start Time(us),Duration(us),"
            "Wait Time(us),Block Dim,Input Shapes,Output Shapes"
        ),
        '1,0,1,{task},3,{name},{type},static,{place},{start}.5,{us},0,8,"{inputs}","{outputs}"',
    ),
}
OPERATORS = (  # name, type, place, microseconds, shapes of the inputs and outputs
    ("/encoder/patch/Conv", "Conv2D", "AI_CORE", 100, "1,1,64,64,16;4,2,16,16;16", "1,2,32,32,16"),
    ("/encoder/block.0/Transpose", "TransposeD", "AI_CORE", 310, "1,32,1024", "1,1024,32"),
    ("trans_TransData_7", "TransData", "AI_CORE", 180, "1,1024,32", "1,2,64,16,16"),
    ("/encoder/block.0/attn/MatMul", "BatchMatMul", "AI_CORE", 100, "1,1024,32;1,32,1024", "1,1024,1024"),
    ("/encoder/block.0/attn/Softmax", "SoftmaxV2", "AI_VECTOR_CORE", 40, "1,1024,1024", "1,1024,1024"),
    ("/head/Softmax", "SoftmaxV2", "AI_VECTOR_CORE", 140, "1,19,512,512", "1,19,512,512"),
    ("/head/ArgMax", "ArgMaxD", "AI_CPU", 220, "1,19,512,512", "1,512,512"),
)


def summary(version: str, runs: int = 3) -> str:
    head, line = SUMMARIES[version]
    lines, start = [head], 1_043_640_017_380
    for run in range(runs):
        for task, (name, kind, place, us, inputs, outputs) in enumerate(OPERATORS):
            took = us + 10 * run
            lines.append(line.format(task=task, run=run, name=name, type=kind, place=place, start=start, us=took, inputs=inputs,
                                     outputs=outputs))  # fmt: skip
            start += took + 5
    return "\r\n".join(lines) + "\r\n"


STATISTICS = {
    "with the model's name": (
        "Model Name,OP Type,Core Type,Count,Total Time(us),Min Time(us),Avg Time(us),Max Time(us),Ratio(%)",
        "seg,{type},{place},{count},{us},1,2,3,{ratio}",
    ),
    "with the device": (
        "Device_id,OP Type,Core Type,Count,Total Time(us),Min Time(us),Avg Time(us),Max Time(us),Ratio(%)",
        "0,{type},{place},{count},{us},1,2,3,{ratio}",
    ),
    "of one operator": (
        "OP Type,Core Type,Count,Total Time,Min Time,Avg Time,Max Time,Ratio(%)", "{type},{place},{count},{us},1,2,3,{ratio}",
    ),
    "in another order": ("Ratio(%),Total Time(us),Count,OP Type", "{ratio},{us},{count},{type}"),
}  # fmt: skip
FIELD_REPORT = (  # the five types of the SegFormer-B0 that took a second, the slowest first
    ("TransposeD", "AI_CORE", 1200, 3_100_000.5), ("ArgMaxD", "AI_CPU", 10, 2_200_000),
    ("TransData", "AI_CORE", 1600, 1_800_000), ("SoftmaxV2", "AI_VECTOR_CORE", 90, 1_400_000),
    ("BatchMatMul", "AI_CORE", 160, 1_000_000),
)  # fmt: skip


def statistic(version: str) -> str:
    head, line = STATISTICS[version]
    lines = (line.format(type=kind, place=place, count=count, us=us, ratio=20) for kind, place, count, us in FIELD_REPORT)
    return "\n".join([head, *lines])


RULE = "-" * 120
V2_HEAD = (
    "ID   OpType             DataType Target InputShape                               OutputShape            "
    "Cycles(DDR/NPU/Total)    Time(us)     MacUsage(%)          WorkLoad(0/1/2)      RW(KB)       FullName        "
)
V2_ROWS = r"""
1    InputOperator      FLOAT16  CPU    \                                        (1,3,256,256)          0/0/0                    4                                 0.0%/0.0%/0.0%       0            InputOperator:input
2    Conv               FLOAT16  NPU    (1,3,256,256),(3,3,1,1)                  (1,3,256,256)          40100/98304/98304        402          0.31/0.00/0.00       100.0%/0.0%/0.0%     384
3    Pad                FLOAT16  NPU    (1,3,256,256),(8)                        (1,3,258,258)          0/0/0                    295          \                    100.0%/0.0%/0.0%     1024         Pad:/encoder/conv1/Pad
4    ConvLeakyRelu      FLOAT16  NPU    (1,3,258,258),(64,3,3,3),(64)            (1,64,256,256)         310200/1769472/1769472   2301         8.10/0.00/0.00       100.0%/0.0%/0.0%     1049         Conv:/encoder/conv1/Conv
38   Resize             FLOAT16  CPU    (1,64,32,32),(0),(4)                     (1,64,64,64)           0/0/0                    1204                              0.0%/0.0%/0.0%       128          Resize:/decoder/up/Resize
63   cstInstanceNormalization_1_128_32_32 FLOAT16  CPU    (1,128,32,32),(128),(128)                (1,128,32,32)          0/0/0                    12950                             0.0%/0.0%/0.0%       2050         cstInstanceNormalization_1_128_32_32:/decoder/norm/InstanceNormalization
64   exSoftmax13        FLOAT16  CPU    (1,19,64,64)                             (1,19,64,64)           0/0/0                    77                                0.0%/0.0%/0.0%       2050         exSoftmax13:/Softmax
65   OutputOperator     FLOAT16  CPU    (1,19,64,64)                             \                      0/0/0                    561                               0.0%/0.0%/0.0%       16204        OutputOperator:classes
""".strip("\n")  # noqa: E501
V2_END = """
Total Operator Elapsed Per Frame Time(us): 17794
Total Memory Read/Write Per Frame Size(KB): 301200
                                 Operator Time Consuming Ranking Table
OpType             CallNumber   CPUTime(us)  GPUTime(us)  NPUTime(us)  TotalTime(us)  TimeRatio(%)
InputOperator      1            4            0            0            4              0.02%
Total                           4            0            0            17794
"""
TITLE = "                    Network Layer Information Table"
V2 = f"Warning: just for debugging\n{RULE}\n{TITLE}\n{RULE}\n{V2_HEAD}\n{RULE}\n{V2_ROWS}\n{RULE}\n{V2_END}"
V1 = r"""
===================================================================================================================
                            Performance
        #### The performance result is just for debugging, ####
===================================================================================================================
ID   OpType           DataType Target InputShape                                   OutputShape            DDR Cycles     NPU Cycles     Total Cycles   Time(us)       MacUsage(%)    WorkLoad(0/1/2)-ImproveTherical        Task Number    Task Size      Regcmd Size    RW(KB)         FullName
1    InputOperator    UINT8    CPU    \                                            (1,3,224,224)          0              0              0              21             \              0.0%/0.0%/0.0% - Up:0.0%               0              0              0              147.00         InputOperator:data
2    ConvRelu         UINT8    NPU    (1,3,224,224),(32,3,3,3),(32)                (1,32,112,112)         70020          9031           70020          391            2.65           0.0%/0.0%/0.0% - Up:0.0%               0              0              0              543.75         Conv:conv1
60   exSoftmax13      FLOAT16  CPU    (1,1000,1,1)                                 (1,1000,1,1)           0              0              0              402            \              0.0%/0.0%/0.0% - Up:0.0%               0              0              0              1.00           exSoftmax13:prob
Total Operator Elapsed Time(us): 814
Total Memory RW Amount(MB): 0
Operator Time-Consuming Ranking:
OpType           Call Number     CPU Time(us)    NPU Time(us)    Total Time(us)    Time Ratio(%)
ConvRelu         35              0               12011           12011             63.02
exSoftmax13      1               402             0               402               2.1
===================================================================================================================
"""  # noqa: E501
CONVERTERS_OWN = (
    "D RKNN: [12:52:02.805] ID   OpType             DataType Target InputShape  OutputShape   Cycles(DDR/NPU/Total)  RW(KB)"
    "   FullName\nD RKNN: [12:52:02.805] 1    Transpose          FLOAT16  CPU    (1,2,3,4)  (1,2,4,3)  0/0/0  0  Transpose:/T\n"
)
FORMS = {
    "eval_perf of 2.x": V2,
    "a log of 2.x": "\n".join(f"D RKNN: [05:07:06.566] {line}" for line in V2.splitlines()),
    "with Windows' line ends": V2.replace("\n", "\r\n"),
    "in UTF-16, as Windows' shell redirects": "\ufeff" + V2,
}


def event(name: str, ts: int, dur: int, cat: str = "Node", **args: Any) -> dict[str, Any]:
    return {"cat": cat, "pid": 1, "tid": 7, "dur": dur, "ts": ts, "ph": "X", "name": name, "args": args}


def onnxruntime(runs: int = 4) -> list[dict[str, Any]]:
    """The first inference takes twice as long; older versions write fences beside the kernels."""
    events = [event("model_loading_array", 0, 900, "Session"), event("session_initialization", 900, 100, "Session")]
    at = 1000
    for run in range(runs):
        slow = 2 if run == 0 else 1
        inside = []
        begin = at
        for name, kind, us in (("/a/Conv", "Conv", 100), ("/a/Relu", "Relu", 20), ("/Softmax", "Softmax", 50)):
            shape = [{"float": [1, 8, 4, 4]}]
            inside.append(event(f"{name}_fence_before", at, 0))
            inside.append(event(f"{name}_kernel_time", at + 1, us * slow, op_name=kind, provider="CPUExecutionProvider",
                                input_type_shape=[*shape, {"float": [8, 8, 1, 1]}], output_type_shape=shape))  # fmt: skip
            at += us * slow + 2
        events += [*inside, event("SequentialExecutor::Execute", begin, at - begin, "Session"),
                   event("model_run", begin, at - begin, "Session")]  # fmt: skip
        at += 10
    return events
