"""The remote runtime against Triton Inference Server itself.

The wheel ``nvidia-pytriton`` (Linux) carries the server; unpack it anywhere and set
``SMARTSCOPE_TRITON`` to that folder, or install it with ``pip install --no-deps``.
The server's Python backend runs ONNX Runtime in the interpreter of the tests, whose
library (``libpython3.X.so``) it needs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import network

from smartscope.core import ModelError

pytest.importorskip("grpc", reason="needs grpcio: pip install smartscope[remote]")

from smartscope.inference._remote import RemoteRuntime

CONFIG = """
backend: "python"
max_batch_size: 0
input [{ name: "in0" data_type: TYPE_FP32 dims: [-1, 1, -1, -1] }]
output [{ name: "out" data_type: TYPE_FP32 dims: [-1, 1, -1, -1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
version_policy: { all {} }
"""
# Through DLPack: the server's own conversion of arrays knows NumPy 1 alone.
PROGRAM = """
import triton_python_backend_utils as backend
import time
from pathlib import Path
import numpy as np
import onnxruntime

class TritonPythonModel:
    def initialize(self, args):
        self.name = args["model_name"]
        file = str(Path(__file__).with_name("net.onnx"))
        self.session = onnxruntime.InferenceSession(
            file, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        given = np.from_dlpack(backend.get_input_tensor_by_name(request, "in0"))
        if self.name == "slow":
            time.sleep(1.5)
        if self.name == "broken":
            error = backend.TritonError("the lamp\\nis out")
            return backend.InferenceResponse(output_tensors=[], error=error)
        (found,) = self.session.run(None, {"in0": np.ascontiguousarray(given)})
        return backend.InferenceResponse([backend.Tensor.from_dlpack("out", found)])
"""


def wheel():
    """Folder that holds ``pytriton``, and the library of this Python; or a reason."""
    if not sys.platform.startswith("linux"):
        return "Triton's server runs on Linux"
    named = os.environ.get("SMARTSCOPE_TRITON", "")
    found = None if named else importlib.util.find_spec("pytriton")
    if not named and (found is None or found.origin is None):
        return "no Triton here: pip install --no-deps nvidia-pytriton"
    root = Path(named) if named else Path(found.origin).parents[1]
    if not (root / "pytriton/tritonserver/bin/tritonserver").is_file():
        return f"no pytriton/tritonserver/bin/tritonserver in {root}"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not (root / "pytriton/tritonserver/python_backend_stubs" / version).is_dir():
        return f"this Triton has no backend for Python {version}"
    library = sysconfig.get_config_var("INSTSONAME") or ""
    folder = Path(sysconfig.get_config_var("LIBDIR") or ".")
    if ".so" not in library or not (folder / library).is_file():
        return "this Python has no library of its own (libpython.so)"
    return root, folder


WHERE = wheel()
pytestmark = pytest.mark.skipif(isinstance(WHERE, str), reason=str(WHERE))


def repository(folder):
    for model, versions in {"net": (1, 4), "slow": (1,), "broken": (1,)}.items():
        for version in versions:
            inside = folder / model / str(version)
            inside.mkdir(parents=True)
            (inside / "model.py").write_text(PROGRAM)
            (inside / "net.onnx").write_bytes(network("Abs", ["b", 1, "y", "x"]))
        (folder / model / "config.pbtxt").write_text(f'name: "{model}"\n{CONFIG}')


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def triton(tmp_path_factory):
    root, library = WHERE
    home = root / "pytriton/tritonserver"
    place = tmp_path_factory.mktemp("triton")
    repository(place / "models")
    backend = place / "backends/python"
    backend.mkdir(parents=True)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    for file in (*(home / "backends/python").glob("*"), stub):
        if file.is_file():
            shutil.copy(file, backend)
            (backend / file.name).chmod(0o755)
    # Its interpreter ignores PYTHONPATH; models import this file first.
    start = backend / "triton_python_backend_utils.py"
    paths = [path for path in sys.path if path]
    text = f"import sys\nsys.path[:0] = {paths!r}\n{start.read_text()}"
    start.write_text(text)
    server = shutil.copy(home / "bin/tritonserver", place)
    Path(server).chmod(0o755)
    libraries = [str(root / "nvidia_pytriton.libs"), str(library)]
    url = f"127.0.0.1:{free_port()}"
    log = (place / "log.txt").open("w")
    process = subprocess.Popen(
        [
            server,
            f"--model-repository={place / 'models'}",
            f"--backend-directory={place / 'backends'}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={url.rpartition(':')[2]}",
            "--allow-http=false",
            "--allow-metrics=false",
        ],
        env=os.environ
        | {
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "PYTHONHOME": sys.base_prefix,
        },
        stdout=log,
        stderr=log,
    )
    try:
        _await(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _await(url, process, log):
    until = time.monotonic() + 60
    while True:
        try:
            RemoteRuntime(url, "net").close()
            return
        except ModelError:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"Triton did not start:\n{Path(log.name).read_text()}")
            time.sleep(0.2)


@pytest.mark.timeout(120)
def test_triton_runs_a_model_for_us(triton):
    runtime = RemoteRuntime(triton, "net", file="models/abs", timeout_s=20)
    (port,) = runtime.inputs
    assert (port.name, port.shape) == ("in0", (None, 1, None, None))
    for shape in ((1, 1, 24, 40), (1, 1, 512, 512), (1, 1, 1500, 1024)):
        (array,) = runtime.prepare([shape])
        array[...] = np.random.default_rng(1).normal(size=shape)
        (found,) = runtime.run()
        np.testing.assert_array_equal(found, np.abs(array))
    assert runtime.version == "4"
    assert runtime.name == f"remote {triton} net/4 fp32"
    runtime.close()


def test_triton_keeps_a_version(triton):
    runtime = RemoteRuntime(triton, "net", version="1", file="models/abs", timeout_s=20)
    (array,) = runtime.prepare([(1, 1, 8, 8)])
    array[...] = -1.0
    assert (runtime.run()[0] == 1.0).all()
    assert runtime.version == "1"
    runtime.close()


def test_triton_that_hangs_or_fails_or_lacks_the_model(triton):
    with pytest.raises(ModelError, match="version 3 that is ready"):
        RemoteRuntime(triton, "net", version="3", file="models/abs")
    slow = RemoteRuntime(triton, "slow", file="models/abs", timeout_s=0.3)
    with pytest.raises(ModelError, match=r"models/abs: .*within 0\.3 s"):
        slow.prepare([(1, 1, 8, 8)])
    slow.close()
    broken = RemoteRuntime(triton, "broken", file="models/abs", timeout_s=20)
    with pytest.raises(ModelError, match=r"models/abs: .*the lamp is out") as error:
        broken.prepare([(1, 1, 8, 8)])
    assert "\n" not in str(error.value)
    broken.close()
