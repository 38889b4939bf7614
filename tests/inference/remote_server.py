"""An inference server for tests: the protocol by protobuf's own classes, over gRPC.

``python remote_server.py MODEL.onnx [PORT]`` prints its port once it listens. It runs
ONNX Runtime as model ``net`` (versions 2 and 5, 5 by default), and beside it models
that each do one thing wrong. Its messages are built from field numbers alone, by
protobuf, so that what smartscope writes is read by other code than its own.
"""

from __future__ import annotations

import sys
import time
from concurrent import futures

import grpc
import numpy as np
import onnxruntime
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

STRING, BYTES, BOOL, INT64, FLOAT, MESSAGE = 9, 12, 8, 3, 2, 11
ONE, MANY = 1, 3
SCHEMA = {
    "Empty": [],
    "Ready": [("ready", 1, BOOL, ONE, "")],
    "Which": [("name", 1, STRING, ONE, ""), ("version", 2, STRING, ONE, "")],
    "Contents": [("fp32_contents", 6, FLOAT, MANY, "")],
    "Head": [
        ("name", 1, STRING, ONE, ""),
        ("datatype", 2, STRING, ONE, ""),
        ("shape", 3, INT64, MANY, ""),
        ("contents", 5, MESSAGE, ONE, "Contents"),
    ],
    "Wanted": [("name", 1, STRING, ONE, "")],
    "Metadata": [
        ("name", 1, STRING, ONE, ""),
        ("versions", 2, STRING, MANY, ""),
        ("platform", 3, STRING, ONE, ""),
        ("inputs", 4, MESSAGE, MANY, "Head"),
        ("outputs", 5, MESSAGE, MANY, "Head"),
    ],
    "Request": [
        ("model_name", 1, STRING, ONE, ""),
        ("model_version", 2, STRING, ONE, ""),
        ("id", 3, STRING, ONE, ""),
        ("inputs", 5, MESSAGE, MANY, "Head"),
        ("outputs", 6, MESSAGE, MANY, "Wanted"),
        ("raw_input_contents", 7, BYTES, MANY, ""),
    ],
    "Answer": [
        ("model_name", 1, STRING, ONE, ""),
        ("model_version", 2, STRING, ONE, ""),
        ("id", 3, STRING, ONE, ""),
        ("outputs", 5, MESSAGE, MANY, "Head"),
        ("raw_output_contents", 6, BYTES, MANY, ""),
    ],
}


def messages():
    """Classes of `SCHEMA`, by name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="t.proto", package="t", syntax="proto3"
    )
    for name, fields in SCHEMA.items():
        made = file.message_type.add(name=name)
        for field, number, kind, label, of in fields:
            made.field.add(
                name=field, number=number, type=kind, label=label,
                **({"type_name": f".t.{of}"} if of else {}),
            )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))
        for name in SCHEMA
    }


M = messages()
FAULTS = ("hang", "error", "short", "absurd", "typed", "renamed", "garbage", "bf16")


class Server:
    def __init__(self, file):
        self.session = onnxruntime.InferenceSession(
            file, providers=["CPUExecutionProvider"]
        )

    def ready(self, request, _context):
        known = request.name == "net" and request.version in ("", "2", "5")
        known = known or (request.name in FAULTS and not request.version)
        return M["Ready"](ready=known)

    def metadata(self, request, _context):
        kind = "BF16" if request.name == "bf16" else "FP32"

        def heads(ports):
            return [
                M["Head"](
                    name=p.name,
                    datatype=kind,
                    shape=[n if isinstance(n, int) else -1 for n in p.shape],
                )
                for p in ports
            ]

        return M["Metadata"](
            name=request.name,
            versions=["2", "5"] if request.name == "net" else [],
            platform="test",
            inputs=heads(self.session.get_inputs()),
            outputs=heads(self.session.get_outputs()),
        )

    def infer(self, request, context):
        name = request.model_name
        if name == "hang":
            time.sleep(1.5)
        if name == "error":
            context.abort(grpc.StatusCode.INTERNAL, "out of\nmemory on the card")
        feed = {
            head.name: np.frombuffer(raw, np.float32).reshape(list(head.shape))
            for head, raw in zip(
                request.inputs, request.raw_input_contents, strict=True
            )
        }
        if not any(array.any() for array in feed.values()):
            # The warm-up is fine; what comes after it is not.
            name = "net"
        wanted = [output.name for output in request.outputs]
        answer = M["Answer"](
            model_name=name,
            model_version=request.model_version or ("5" if name == "net" else ""),
        )
        for key, array in zip(wanted, self.session.run(wanted, feed), strict=True):
            shape = list(array.shape)
            if name == "absurd":
                shape[0] = -4
            head = answer.outputs.add(name=key, datatype="FP32", shape=shape)
            if name == "typed":
                head.contents.fp32_contents.extend(array.ravel().tolist())
                continue
            if name == "renamed":
                head.name = "else"
            raw = array.astype("<f4").tobytes()
            answer.raw_output_contents.append(raw[:-4] if name == "short" else raw)
        return b"\xff\xff" if name == "garbage" else answer


def _bytes(message):
    return message if isinstance(message, bytes) else message.SerializeToString()


def serve(file, port):
    does = Server(file)
    calls = {
        "ServerReady": (lambda *_: M["Ready"](ready=True), "Empty"),
        "ModelReady": (does.ready, "Which"),
        "ModelMetadata": (does.metadata, "Which"),
        "ModelInfer": (does.infer, "Request"),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            function,
            request_deserializer=M[kind].FromString,
            response_serializer=_bytes,
        )
        for name, (function, kind) in calls.items()
    }
    server = grpc.server(
        futures.ThreadPoolExecutor(4),
        options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
    )
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "inference.GRPCInferenceService", handlers
            ),
        )
    )
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print(bound, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "0")
