"""A network on another computer, through the Open Inference Protocol (KServe v2).

Triton Inference Server, OpenVINO Model Server, KServe and MLServer all speak it over
gRPC. A frame costs one call: the prepared arrays go out as they lie in memory and the
outputs come back the same way. Through one computer's own network a 512 x 512 image of
float32 there and back costs a few ms more than the network itself.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np

from smartscope.inference._document import LARGEST_PX, refusal
from smartscope.inference._protocol import Port
from smartscope.inference._remote_wire import (
    DTYPES,
    SERVICE,
    infer_request,
    model_request,
    read_answer,
    read_metadata,
    read_ready,
)
from smartscope.inference._runtime import check_shapes, not_installed, not_prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from numpy.typing import NDArray

    from smartscope.core import ModelError
    from smartscope.inference._protocol import Precision
    from smartscope.inference._remote_wire import Answer, Metadata, TensorHead

    T = TypeVar("T")

TIMEOUT_S = 2.0
CONNECT_S = 5.0
_MAX_BYTES = 2**30
_ATTEMPT_MS = 20_000
_PLAIN, _TLS = "grpc://", "grpcs://"
_OPTIONS = ("timeout_s", "certificate")


def is_remote(runtime: str) -> bool:
    """Whether a ``runtime:`` is the address of a model on a server."""
    return runtime.startswith((_PLAIN, _TLS))


def remote_settings(address: str) -> dict[str, str | float]:
    """Read the address of a model on a server.

    Parameters
    ----------
    address : str
        ``grpc://HOST:PORT/MODEL`` or ``grpc://HOST:PORT/MODEL/VERSION``; ``grpcs``
        for TLS. Settings follow a question mark: ``?timeout_s=0.5`` and
        ``certificate``.

    Returns
    -------
    dict
        ``remote``, ``model`` and what else was given, as `load_model` takes it.

    Raises
    ------
    ModelError
        It is no such address.
    """
    parts = urlsplit(address)
    path = [unquote(part) for part in parts.path.split("/") if part]
    settings = dict(parse_qsl(parts.query, keep_blank_values=True))
    problem = ""
    if not is_remote(address) or not parts.netloc or len(path) not in (1, 2):
        problem = "is no address of a model on a server"
    elif unknown := [key for key in settings if key not in _OPTIONS]:
        problem = f"has no setting '{unknown[0]}' (it has {', '.join(_OPTIONS)})"
    timeout_s = _seconds(settings.get("timeout_s", f"{TIMEOUT_S}"))
    if not problem and not 0 < timeout_s < math.inf:
        problem = f"has '{settings['timeout_s']}' as timeout_s, not seconds"
    if problem:
        raise refusal(
            f"'{address}' {problem}",
            file="runtime",
            fix="write it as grpc://HOST:PORT/MODEL/VERSION?timeout_s=2",
        )
    found: dict[str, str | float] = {
        "remote": f"{parts.scheme}://{parts.netloc}",
        "model": path[0],
        "timeout_s": timeout_s,
    }
    if len(path) > 1:
        found["version"] = path[1]
    if "certificate" in settings:
        found["certificate"] = settings["certificate"]
    return found


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class RemoteRuntime:
    """One model of an inference server; see `Runtime`.

    Every call has a deadline, so a server that hangs cannot hang the loop. After a
    server was away the next call connects again.

    Parameters
    ----------
    url : str
        ``host:port`` of its gRPC port, ``grpc://host:port``, or ``grpcs://host:port``
        for TLS.
    model : str
        Name of the model on the server.
    version : str
        Its version there; empty is the one the server answers with first, which is
        then kept.
    file : str
        What is called remote, for messages; the model's package.
    timeout_s : float
        Longest wait for one run, s.
    connect_s : float
        Longest wait for the server and the model to be ready, s.
    certificate : str, path or None
        For ``grpcs``: PEM file of the authority that vouches for the server; None
        trusts those gRPC comes with.
    inputs, outputs : sequence of str
        Names in the order in which the caller counts them; none is the server's.

    Attributes
    ----------
    name, precision, inputs, outputs
        As in `Runtime`. A server does not say what it computes in: `precision` is
        that of its first input.
    version : str
        Version that answers; empty until one is known.

    Raises
    ------
    ModelError
        gRPC is missing, or the server does not answer or does not have this model.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: str = "",
        file: str = "",
        timeout_s: float = TIMEOUT_S,
        connect_s: float = CONNECT_S,
        certificate: str | Path | None = None,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
    ) -> None:
        try:
            import grpc
        except ImportError as error:
            what = "gRPC for a remote model"
            raise not_installed(what, "smartscope[remote]", error) from error
        self._grpc = grpc
        self._file = file
        self._model = model
        self._timeout_s = timeout_s
        self.version = version
        self._address = url.removeprefix(_PLAIN).removeprefix(_TLS)
        self._channel = self._connect(url, certificate)
        self._calls: dict[str, Any] = {}
        self._shapes: tuple[tuple[int, ...], ...] | None = None
        self._in: tuple[NDArray[Any], ...] = ()
        self._out: tuple[NDArray[Any], ...] = ()
        self._heads: tuple[bytes, ...] = ()
        try:
            self._check_ready(connect_s)
            found = self._metadata()
            self.inputs = self._ports(found.inputs, inputs, "input")
            self.outputs = self._ports(found.outputs, outputs, "output")
        except BaseException:
            self.close()
            raise
        half = self.inputs[0].dtype == "float16"
        self.precision: Precision = "fp16" if half else "fp32"

    @property
    def name(self) -> str:
        """Server, model and version, such as ``remote gpu:8001 nuclei/3 fp32``."""
        version = f"/{self.version}" if self.version else ""
        return f"remote {self._address} {self._model}{version} {self.precision}"

    def prepare(self, shapes: Sequence[tuple[int, ...]]) -> tuple[NDArray[Any], ...]:
        """Make arrays for these shapes and run once; see `Runtime.prepare`."""
        wanted = check_shapes(shapes, self.inputs, self._file)
        if wanted == self._shapes:
            return self._in
        self._forget()
        arrays = tuple(
            np.zeros(shape, port.dtype)
            for shape, port in zip(wanted, self.inputs, strict=True)
        )
        self._in, self._shapes = arrays, wanted
        self._write_heads()
        try:
            answer = self._infer()
        except BaseException:
            self._forget()
            raise
        if answer.version and answer.version != self.version:
            # From now on this one, whatever is put on the server later.
            self.version = answer.version
            self._write_heads()
        return arrays

    def run(self) -> tuple[NDArray[Any], ...]:
        """Run on what the prepared arrays hold; see `Runtime.run`."""
        if self._shapes is None:
            raise not_prepared(self.name, self._file)
        self._infer()
        return self._out

    def close(self) -> None:
        """Give back the connection."""
        self._forget()
        self._channel.close()

    def _forget(self) -> None:
        self._shapes, self._in, self._out, self._heads = None, (), (), ()

    def _connect(self, url: str, certificate: str | Path | None) -> Any:
        options = [
            ("grpc.max_send_message_length", _MAX_BYTES),
            ("grpc.max_receive_message_length", _MAX_BYTES),
            # A server that was restarted is found again within a second; one try to
            # connect may take longer (this is its limit, whatever its name says).
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", _ATTEMPT_MS),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A proxy of the web has no business between microscope and server.
            ("grpc.enable_http_proxy", 0),
        ]
        if not url.startswith(_TLS):
            return self._grpc.insecure_channel(self._address, options=options)
        try:
            pem = None if certificate is None else Path(certificate).read_bytes()
        except OSError as error:
            raise refusal(
                f"the certificate '{certificate}' cannot be read "
                f"({error.strerror or error})",
                file=self._file,
                fix="name the PEM file of the authority that vouches for the server",
            ) from error
        trust = self._grpc.ssl_channel_credentials(root_certificates=pem)
        return self._grpc.secure_channel(self._address, trust, options=options)

    def _check_ready(self, connect_s: float) -> None:
        if not self._read(read_ready, self._call("ServerReady", b"", connect_s)):
            raise self._problem("is not ready", "wait until it has loaded its models")
        which = model_request(self._model, self.version)
        if not self._read(read_ready, self._call("ModelReady", which, connect_s)):
            raise self._problem(
                f"has no {self._what()} that is ready",
                "load the model there, or correct its name and version",
            )

    def _metadata(self) -> Metadata:
        which = model_request(self._model, self.version)
        message = self._call("ModelMetadata", which, self._timeout_s)
        found = self._read(read_metadata, message)
        if not found.inputs or not found.outputs:
            raise self._problem(f"states no inputs and outputs of {self._what()}")
        if not self.version and len(found.versions) == 1:
            self.version = found.versions[0]
        return found

    def _ports(
        self, heads: Sequence[TensorHead], names: Sequence[str], kind: str
    ) -> tuple[Port, ...]:
        for head in heads:
            if head.datatype not in DTYPES:
                raise self._problem(
                    f"has {self._what()} with {kind} '{head.name}' of type "
                    f"{head.datatype or 'unknown'}",
                    "serve it with tensors of numbers",
                )
        ports = {
            head.name: Port(
                head.name,
                tuple(size if size > 0 else None for size in head.shape),
                DTYPES[head.datatype],
            )
            for head in heads
        }
        if names and set(names) != set(ports):
            raise self._problem(
                f"calls the {kind}s of {self._what()} {', '.join(ports)}, "
                f"the model here {', '.join(names)}",
                "serve the same network",
            )
        return tuple(ports[name] for name in names or ports)

    def _write_heads(self) -> None:
        sent = [
            (port, array.shape, array.nbytes)
            for port, array in zip(self.inputs, self._in, strict=True)
        ]
        self._heads = infer_request(self._model, self.version, sent, self.outputs)

    def _infer(self) -> Answer:
        """One run; the outputs are in `_out` afterwards."""
        parts: list[Any] = []
        for head, array in zip(self._heads, self._in, strict=True):
            parts += [head, array.view(np.uint8).data if array.size else b""]
        answer = self._read(
            read_answer, self._call("ModelInfer", b"".join(parts), self._timeout_s)
        )
        order = {head.name: number for number, head in enumerate(answer.outputs)}
        missing = [port.name for port in self.outputs if port.name not in order]
        if missing:
            raise self._problem(
                f"sent no output '{missing[0]}' of {self._what()}",
                "serve the same network",
            )
        numbers = [order[port.name] for port in self.outputs]
        if len(self._out) != len(self.outputs):
            self._out = (np.empty(0),) * len(self.outputs)
        self._out = tuple(
            self._received(answer.outputs[n], answer.contents[n], port, array)
            for n, port, array in zip(numbers, self.outputs, self._out, strict=True)
        )
        return answer

    def _received(
        self,
        head: TensorHead,
        content: memoryview | None,
        port: Port,
        into: NDArray[Any],
    ) -> NDArray[Any]:
        """Copy one output into its array, which is made where there is none yet."""
        if DTYPES.get(head.datatype) != port.dtype or content is None:
            raise self._problem(
                f"sent output '{head.name}' of {self._what()} as "
                f"{head.datatype or 'nothing'} that cannot be read",
                f"serve it as {port.dtype}, as raw contents",
            )
        size = math.prod(head.shape) * np.dtype(port.dtype).itemsize
        odd = any(not 0 <= n <= LARGEST_PX * LARGEST_PX for n in head.shape)
        if odd or size != len(content):
            shown = " x ".join(map(str, head.shape))
            raise self._problem(
                f"sent {len(content)} bytes as output '{head.name}' of {self._what()}, "
                f"which it says is {shown}",
                "look at the log of the server",
            )
        if into.shape != head.shape or into.dtype != port.dtype:
            into = np.empty(head.shape, port.dtype)
        little = np.dtype(port.dtype).newbyteorder("<")
        np.copyto(into, np.frombuffer(content, little).reshape(head.shape))
        return into

    def _call(self, method: str, message: bytes, timeout_s: float) -> bytes:
        if method not in self._calls:
            self._calls[method] = self._channel.unary_unary(SERVICE + method)
        try:
            answer: bytes = self._calls[method](message, timeout=timeout_s)
        except self._grpc.RpcError as error:
            connecting = method == "ServerReady"
            raise self._failed(error, timeout_s, connecting) from error
        return answer

    def _failed(self, error: Any, timeout_s: float, connecting: bool) -> ModelError:
        status = self._grpc.StatusCode
        code = error.code()
        said = " ".join(str(error.details() or "").split())[:160]
        start = "start the server, or correct its address (the gRPC port, not HTTP's)"
        if code is status.DEADLINE_EXCEEDED:
            if connecting:
                return self._problem(f"does not answer ({timeout_s:g} s waited)", start)
            return self._problem(
                f"gave no answer for {self._what()} within {timeout_s:g} s",
                "look at the load of the server, or allow more time",
            )
        if code is status.UNAVAILABLE:
            return self._problem(f"cannot be reached ({said})", start)
        if code is status.UNIMPLEMENTED:
            return self._problem("does not speak the Open Inference Protocol", start)
        if code is status.NOT_FOUND:
            fix = "load the model there, or correct its name and version"
            return self._problem(f"has no {self._what()} ({said})", fix)
        return self._problem(
            f"refused a run of {self._what()} ({code.name.lower()}: {said})",
            "look at the log of the server",
        )

    def _read(self, reader: Callable[[bytes], T], message: bytes) -> T:
        try:
            return reader(message)
        except ValueError as error:
            raise self._problem(
                f"sent an answer that cannot be read ({error})",
                "check that the address is that of an inference server",
            ) from error

    def _what(self) -> str:
        version = f" version {self.version}" if self.version else ""
        return f"model '{self._model}'{version}"

    def _problem(
        self, what: str, fix: str = "look at the log of the server"
    ) -> ModelError:
        return refusal(f"the server {self._address} {what}", file=self._file, fix=fix)
