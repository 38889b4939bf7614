"""A remote model: a real server in a process of its own, right, wrong and away."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import network

from smartscope.core import ModelError

pytest.importorskip("grpc", reason="needs grpcio: pip install smartscope[remote]")

from smartscope.inference._remote import RemoteRuntime, is_remote, remote_settings

SERVER = Path(__file__).with_name("remote_server.py")
SHAPE = (1, 1, 24, 40)


class Process:
    """The server of `remote_server.py`."""

    def __init__(self, file, port="0"):
        self.file = file
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), str(file), str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.process.stdout.readline())
        self.url = f"127.0.0.1:{self.port}"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "abs.onnx"
    path.write_bytes(network("Abs", ["b", 1, "y", "x"]))
    return path


@pytest.fixture(scope="module")
def server(tiny):
    process = Process(tiny)
    yield process
    process.stop()


@pytest.fixture
def remote(server):
    opened = []

    def make(model="net", **options):
        options = {"file": "models/abs", "timeout_s": 10.0} | options
        opened.append(RemoteRuntime(server.url, model, **options))
        return opened[-1]

    yield make
    for runtime in opened:
        runtime.close()


def image(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sentence(error, *words):
    text = str(error.value)
    assert "\n" not in text
    for word in ("models/abs", *words):
        assert word in text, text
    return text


def test_ports_come_from_the_server_and_arrays_go_there_and_back(remote):
    runtime = remote()
    (given,) = runtime.inputs
    assert (given.name, given.shape, given.dtype) == (
        "in0",
        (None, 1, None, None),
        "float32",
    )
    assert [port.name for port in runtime.outputs] == ["out"]
    assert runtime.precision == "fp32"
    (array,) = runtime.prepare([SHAPE])
    for seed in (1, 2):
        array[...] = image(seed)
        (found,) = runtime.run()
        np.testing.assert_array_equal(found, np.abs(image(seed)))
        assert found.flags.writeable


def test_outputs_belong_to_the_runtime_and_stay_in_place(remote):
    runtime = remote()
    (array,) = runtime.prepare([SHAPE])
    assert runtime.prepare([SHAPE])[0] is array
    (first,) = runtime.run()
    array[...] = 3.0
    (second,) = runtime.run()
    assert second is first
    assert (second == 3.0).all()


def test_another_size_is_prepared_anew_and_large_images_pass(remote):
    runtime = remote()
    runtime.prepare([SHAPE])
    # 4 MiB is where gRPC refuses messages unless told otherwise.
    shape = (1, 1, 1200, 1024)
    (array,) = runtime.prepare([shape])
    array[...] = image(3, shape)
    (found,) = runtime.run()
    np.testing.assert_array_equal(found, np.abs(image(3, shape)))


def test_the_version_that_answered_first_is_kept_and_named(remote, server):
    runtime = remote()
    assert runtime.version == ""
    runtime.prepare([SHAPE])
    assert runtime.version == "5"
    assert runtime.name == f"remote {server.url} net/5 fp32"
    pinned = remote(version="2")
    pinned.prepare([SHAPE])
    assert pinned.version == "2"
    assert "net/2" in pinned.name


def test_a_typed_answer_is_read_too(remote):
    runtime = remote("typed")
    (array,) = runtime.prepare([SHAPE])
    array[...] = image(4)
    np.testing.assert_array_equal(runtime.run()[0], np.abs(image(4)))


def test_names_of_ports_put_them_in_order_or_are_refused(remote):
    assert remote(inputs=["in0"], outputs=["out"]).outputs[0].name == "out"
    with pytest.raises(ModelError) as error:
        remote(outputs=["mask"])
    sentence(error, "out", "mask", "same network")


def test_a_server_that_hangs_is_left_at_the_timeout(remote):
    runtime = remote("hang", timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(ModelError) as error:
        runtime.prepare([SHAPE])
    # The server sleeps five times as long.
    assert time.monotonic() - began < 1.4
    sentence(error, "127.0.0.1", "'hang'", "within 0.3 s")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("short", ["3836 bytes", "'out'", "1 x 1 x 24 x 40"]),
        ("absurd", ["'out'", "-4 x 1 x 24 x 40"]),
        ("renamed", ["no output 'out'"]),
        ("garbage", ["cannot be read", "cut off"]),
    ],
)
def test_an_answer_that_is_wrong_mid_run_is_refused(remote, model, words):
    runtime = remote(model)
    (array,) = runtime.prepare([SHAPE])
    array[...] = 1.0
    with pytest.raises(ModelError) as error:
        runtime.run()
    sentence(error, "127.0.0.1", *words)


def test_an_error_of_the_server_is_one_sentence(remote):
    runtime = remote("error")
    with pytest.raises(ModelError) as error:
        runtime.prepare([SHAPE])
    sentence(error, "model 'error'", "internal: out of memory on the card")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "nothing"}, ["no model 'nothing'"]),
        ({"version": "3"}, ["no model 'net' version 3"]),
        ({"model": "bf16"}, ["input 'in0' of type BF16"]),
    ],
)
def test_what_the_server_does_not_have_is_refused_at_once(remote, options, words):
    with pytest.raises(ModelError) as error:
        remote(**options)
    sentence(error, *words)


def test_wrong_shapes_are_refused_before_anything_is_sent(remote):
    runtime = remote()
    with pytest.raises(ModelError):
        runtime.prepare([(1, 3, 8, 8)])
    with pytest.raises(ModelError):
        runtime.prepare([SHAPE, SHAPE])
    with pytest.raises(ModelError, match="prepare first"):
        runtime.run()


def test_no_server_and_no_inference_server(remote):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelError) as error:
        RemoteRuntime(f"127.0.0.1:{port}", "net", file="models/abs")
    sentence(error, f"127.0.0.1:{port}", "cannot be reached", "start the server")


def test_a_server_that_accepts_and_says_nothing_is_left(remote):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        kept = []
        thread = threading.Thread(target=lambda: kept.append(silent.accept()))
        thread.start()
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ModelError) as error:
            RemoteRuntime(url, "net", file="models/abs", connect_s=0.3)
        thread.join()
        kept[0][0].close()
    sentence(error, url, "0.3 s")


def test_tls_is_not_spoken_in_silence_and_its_certificate_must_exist(server, tmp_path):
    with pytest.raises(ModelError) as error:
        RemoteRuntime(f"grpcs://{server.url}", "net", file="models/abs")
    sentence(error, server.url, "cannot be reached")
    missing = tmp_path / "authority.pem"
    with pytest.raises(ModelError) as error:
        RemoteRuntime(
            f"grpcs://{server.url}", "net", file="models/abs", certificate=missing
        )
    sentence(error, "authority.pem", "PEM")


def test_a_server_that_goes_away_and_comes_back(tiny):
    server = Process(tiny)
    again = None
    runtime = RemoteRuntime(server.url, "net", file="models/abs", timeout_s=5.0)
    try:
        (array,) = runtime.prepare([SHAPE])
        array[...] = -2.0
        server.stop()
        with pytest.raises(ModelError) as error:
            runtime.run()
        sentence(error, server.url, "cannot be reached")
        again = Process(tiny, server.port)
        for _ in range(100):
            try:
                (found,) = runtime.run()
                break
            except ModelError:
                time.sleep(0.1)
        assert (found == 2.0).all()
    finally:
        runtime.close()
        server.stop()
        if again is not None:
            again.stop()


def test_an_address_names_server_model_version_and_settings():
    assert is_remote("grpc://gpu:8001/net")
    assert not is_remote("openvino-bf16")
    assert remote_settings("grpc://gpu:8001/net") == {
        "remote": "grpc://gpu:8001",
        "model": "net",
        "timeout_s": 2.0,
    }
    found = remote_settings("grpcs://[::1]:80/a%20b/2?timeout_s=7.5&certificate=c.pem")
    assert found == {
        "remote": "grpcs://[::1]:80",
        "model": "a b",
        "version": "2",
        "timeout_s": 7.5,
        "certificate": "c.pem",
    }


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("grpc://gpu:8001", "no address of a model"),
        ("grpc:///net", "no address of a model"),
        ("http://gpu:8001/net", "no address of a model"),
        ("grpc://gpu:8001/a/b/c", "no address of a model"),
        ("grpc://gpu:8001/net?speed=9", "no setting 'speed' (it has timeout_s"),
        ("grpc://gpu:8001/net?timeout_s=soon", "'soon' as timeout_s"),
        ("grpc://gpu:8001/net?timeout_s=-1", "'-1' as timeout_s"),
    ],
)
def test_an_address_that_is_wrong_is_refused(address, words):
    with pytest.raises(ModelError) as error:
        remote_settings(address)
    assert words in str(error.value)
    assert "grpc://HOST:PORT/MODEL/VERSION" in str(error.value)
