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

KINDS = {"string": 9, "bytes": 12, "bool": 8, "int64": 3, "float": 2}
MESSAGE, ONE, MANY = 11, 1, 3
SCHEMA = {
    "Empty": (),
    "Ready": ("bool ready 1",),
    "Which": ("string name 1", "string version 2"),
    "Contents": ("repeated float fp32_contents 6",),
    "Head": (
        *("string name 1", "string datatype 2"),
        *("repeated int64 shape 3", "Contents contents 5"),
    ),
    "Wanted": ("string name 1",),
    "Metadata": (
        *("string name 1", "repeated string versions 2", "string platform 3"),
        *("repeated Head inputs 4", "repeated Head outputs 5"),
    ),
    "Request": (
        *("string model_name 1", "string model_version 2", "string id 3"),
        *("repeated Head inputs 5", "repeated Wanted outputs 6"),
        "repeated bytes raw_input_contents 7",
    ),
    "Answer": (
        *("string model_name 1", "string model_version 2", "string id 3"),
        *("repeated Head outputs 5", "repeated bytes raw_output_contents 6"),
    ),
}


def messages():
    """Classes of `SCHEMA`, by name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="t.proto", package="t", syntax="proto3"
    )
    for name, lines in SCHEMA.items():
        made = file.message_type.add(name=name)
        for line in lines:
            *repeated, kind, field, number = line.split()
            made.field.add(
                name=field,
                number=int(number),
                type=KINDS.get(kind, MESSAGE),
                label=MANY if repeated else ONE,
                **({} if kind in KINDS else {"type_name": f".t.{kind}"}),
            )
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
