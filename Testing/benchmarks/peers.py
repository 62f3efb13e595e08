"""What a student is compared with: its own weights on other engines, and published networks with random weights."""

import importlib.util
from collections.abc import Callable

import numpy as np

from LiverGTANLib.core import threads
from LiverGTANLib.core.weight_file import Student

Forward = Callable[[np.ndarray], np.ndarray]
"""(D, H, W) float32 to (D, H, W) logits, or to as many as the network has classes."""


def onnx_model(student: Student, shape: tuple[int, ...]) -> bytes:
    """The student as an ONNX model for one grid size."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = []
    weights = [
        numpy_helper.from_array(np.ascontiguousarray(w, np.float32), name) for name, w in student.weights.items()
    ]

    def node(kind: str, name: str, inputs: list[str], **attributes) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def convolution(name: str, x: str, stride: int = 1, side: int = 3) -> str:
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        pads = [side // 2 if side == 3 else 0] * 6
        sums = node("Conv", f"{name}.sum", inputs, strides=[stride] * 3, pads=pads, kernel_shape=[side] * 3)
        return node("LeakyRelu", name, [sums], alpha=student.negative_slope)

    def upsampling(name: str, x: str) -> str:
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        return node("ConvTranspose", name, inputs, strides=[2] * 3, kernel_shape=[2] * 3)

    x = convolution("enc0", convolution("stem", "x", stride=2, side=2))
    skips = [x]
    for level in range(1, len(student.widths)):
        x = convolution(f"enc{level}", convolution(f"down{level}", x, stride=2))
        skips.append(x)
    for level in reversed(range(len(student.widths) - 1)):
        both = node("Concat", f"both{level}", [upsampling(f"up{level}", x), skips[level]], axis=1)
        x = convolution(f"dec{level}", both)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, *shape]) for name in ("x", upsampling("head", x))
    ]
    graph = helper.make_graph(nodes, "student", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model.SerializeToString()


def openvino(model: bytes) -> Forward:
    """In float32, on as many threads as the extension uses."""
    from openvino import Core

    core = Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads.thread_count()}
    request = core.compile_model(core.read_model(model), "CPU", options).create_infer_request()
    return lambda x: request.infer({0: x[None, None]})[0][0, 0]


def onnxruntime(model: bytes) -> Forward:
    """On as many threads as the extension uses."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads.thread_count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x[None, None]})[0][0, 0]


def other_engines(student: Student, shape: tuple[int, ...]) -> dict[str, Forward]:
    """Those that are installed."""
    if not importlib.util.find_spec("onnx"):
        return {}
    model, makers = onnx_model(student, shape), {"openvino": openvino, "onnxruntime": onnxruntime}
    return {name: make(model) for name, make in makers.items() if importlib.util.find_spec(name)}


def published_networks() -> dict[str, Forward]:
    """Random weights, as the time does not depend on them; float32 on torch, channels-last. Empty without MONAI."""
    if not importlib.util.find_spec("monai"):
        return {}
    import torch
    from monai.networks.nets import BasicUNet, DynUNet, SegResNet

    torch.set_num_threads(threads.thread_count())
    nets = {
        # Isensee et al., Nature Methods 18:203, 2021, planned for 3 mm (Wasserthal et al., Radiol AI 5:e230024, 2023)
        "nnU-Net 3d plain": DynUNet(
            3, 1, 2, [3] * 5, [1, 2, 2, 2, 2], [2] * 4, filters=[32, 64, 128, 256, 320], norm_name="instance"
        ),
        # MONAI model zoo, wholeBody_ct_segmentation (Myronenko 2018)
        "SegResNet whole body": SegResNet(
            spatial_dims=3, init_filters=32, out_channels=105, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1)
        ),
        "BasicUNet": BasicUNet(3, 1, 2),  # Falk et al., Nature Methods 16:67, 2019
    }

    def forward(net: torch.nn.Module) -> Forward:
        placed = net.eval().to(memory_format=torch.channels_last_3d)

        def run_net(x: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return placed(torch.from_numpy(x)[None, None])[0].numpy()

        return run_net

    return {name: forward(net) for name, net in nets.items()}
