"""TensorRT as a runtime: engines from the cache, memory held, one launch per frame."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smartscope.core import ModelError
from smartscope.inference._document import refusal
from smartscope.inference._engines import (
    Engine,
    Recipe,
    check_engine,
    digest_of,
    engine_key,
    engine_path,
    engines_folder,
    find_covering,
    find_engine,
    read_engine,
    with_notes,
    write_engine,
    write_whole,
)
from smartscope.inference._fold import FRAME, fold, inputs_of
from smartscope.inference._protocol import Port
from smartscope.inference._runtime import check_shapes, check_weights, not_prepared
from smartscope.inference._trt import TensorRt, first_words, load_tensorrt
from smartscope.inference._trt_build import (
    build_engine,
    fixed_recipe,
    port_of,
    target_text,
)
from smartscope.inference._trt_checks import read_onnx
from smartscope.inference._trt_memory import CudaDevice, Device
from smartscope.inference._trt_session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.inference._fold import Folding
    from smartscope.inference._protocol import Precision, Weights
    from smartscope.inference._trt import Flavour


class TensorRtRuntime:
    """TensorRT, or TensorRT for RTX, on the first NVIDIA card.

    Each size gets an engine of its own, compiled at its first `prepare` and kept in
    the cache, unless there is one already that covers it; or an engine is given. After
    `prepare` a frame is one launch of a CUDA graph: copy in, network, copy out, all in
    memory held from the start.

    Parameters
    ----------
    weights : Weights
        An ONNX file.
    flavour : ``tensorrt-rtx`` or ``tensorrt``
        Which one.
    precision : str
        What the engine computes in; weights that are quantised already stay so.
    folding : Folding or None
        Processing inside the network; `inputs` and `outputs` are then those of the
        folded network.
    calibration : sequence of sequence of ndarray
        For ``int8`` and ``fp8``, as for `build_engine`.
    engine : path or None
        A file that ``smartscope models build`` wrote, in place of the cache.
    cache : path or None
        Folder for engines; None is `engines_folder`.
    device : Device or None
        The card; None is `CudaDevice`.

    Attributes
    ----------
    name, precision, inputs, outputs
        As in `Runtime`.
    notes : tuple of str
        What happened to engines that were found, for the journal.

    Raises
    ------
    ModelError
        A library or the card is missing, or the file is not for it.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        flavour: Flavour = "tensorrt-rtx",
        precision: Precision = "fp16",
        folding: Folding | None = None,
        calibration: Sequence[Sequence[NDArray[Any]]] = (),
        engine: Path | None = None,
        cache: Path | None = None,
        device: Device | None = None,
    ) -> None:
        check_weights(weights, ("onnx",), flavour)
        self._trt: TensorRt = load_tensorrt(flavour)
        self._weights, self._calibration = weights, calibration
        self._device = CudaDevice(weights.file) if device is None else device
        self._card, self._sm = self._device.about(), self._device.capability()
        self._folder = engines_folder() if cache is None else cache
        self._session: Session | None = None
        self._keep: list[Any] = []
        self._shapes: tuple[tuple[int, ...], ...] = ()
        self.notes: tuple[str, ...] = ()
        typed = weights.precision if weights.precision != "fp32" else precision
        self._recipe = Recipe(flavour=flavour, precision=typed, folding=folding)
        self._given = None if engine is None else self._read(engine)
        self._jit = None if engine is None else engine.with_suffix(".jit")
        self.inputs, self.outputs = self._ports()

    @property
    def name(self) -> str:
        """TensorRT and version, card and precision."""
        return f"{self._trt.label} {self._card} {self.precision}"

    @property
    def precision(self) -> Precision:
        """Type the engine computes in."""
        return self._recipe.precision

    def _read(self, path: Path) -> Engine:
        engine = read_engine(path)
        check_engine(engine, self._trt.label, self._weights)
        told = self._recipe.folding.text() if self._recipe.folding else ""
        if engine.card.folding != told:
            raise refusal(
                "this engine was built with other processing inside",
                file=path.name,
                fix="build it again with: smartscope models build",
            )
        self._recipe = replace(self._recipe, precision=engine.card.precision)
        return engine

    def _ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        if self._given is not None:
            ports = [
                (t.mode, Port(t.name, t.shape, t.dtype))
                for t in self._given.card.tensors
            ]
            return (
                tuple(port for mode, port in ports if mode == "input"),
                tuple(port for mode, port in ports if mode == "output"),
            )
        model = read_onnx(self._weights)
        if self._recipe.folding is not None:
            model = fold(model, self._recipe.folding, self._weights.file)
        return (
            tuple(port_of(p) for p in inputs_of(model)),
            tuple(port_of(p) for p in model.graph.output),
        )

    def prepare(self, shapes: Sequence[tuple[int, ...]]) -> tuple[NDArray[Any], ...]:
        """Get ready for tensors of these shapes; see `Runtime.prepare`.

        The first time a size is met its engine is compiled, which takes from tenths
        of a second (RTX) to minutes.
        """
        given = check_shapes(shapes, self.inputs, self._weights.file)
        if self._session is not None and given == self._shapes:
            return self._session.inputs
        self._release()
        engine = self._given or self._engine(given)
        logger, errors = self._trt.logger()
        context, cache = self._context(engine, logger, errors)
        self._session = Session(
            context,
            engine.card.tensors,
            given,
            device=self._device,
            file=self._weights.file,
            errors=errors,
        )
        self._shapes = given
        self._keep_kernels(cache)
        return self._session.inputs

    def run(self) -> tuple[NDArray[Any], ...]:
        """Run the network; see `Runtime.run`."""
        if self._session is None:
            raise not_prepared(self._trt.flavour, self._weights.file)
        return self._session.run()

    def close(self) -> None:
        """Give back all memory of the card."""
        self._release()

    def _release(self) -> None:
        session, self._session, self._shapes = self._session, None, ()
        try:
            if session is not None:
                session.close()
        finally:
            # The context goes before its engine, and that before its runtime.
            while self._keep:
                self._keep.pop()

    # -- engines ----------------------------------------------------------------------

    def _engine(self, shapes: tuple[tuple[int, ...], ...]) -> Engine:
        """Engine for one size: from the cache, or compiled now."""
        plain = [
            shape[:-1] if port.name == FRAME else shape
            for port, shape in zip(self.inputs, shapes, strict=True)
        ]
        # Gain and offset have one size; they are inputs of the folded network only.
        own = plain[:1] if self._folded else plain
        recipe = replace(fixed_recipe(self._recipe, own), sm=(self._sm,))
        path = self._path(recipe)
        found, reason = find_engine(self._folder, self._key(recipe), self._weights.file)
        if found is None:
            found, place = find_covering(
                self._folder, self._weights, recipe, self._trt.label, self._suits
            )
            path = place or path
        self._jit = path.with_suffix(".jit")
        if found is not None:
            return found
        built = build_engine(
            self._weights, recipe, calibration=self._calibration, target=self._card
        )
        built = with_notes(built, reason)
        told = [*self.notes, *built.card.notes]
        try:
            write_engine(path, built)
        except ModelError as error:
            # It runs all the same, and is built again at the next start.
            told.append(str(error))
        self.notes = tuple(dict.fromkeys(told))
        return built

    def _suits(self, target: str) -> bool:
        """Whether an engine for these cards runs on this one."""
        if not self._trt.ahead_of_time:
            return target == self._card
        own = target_text(self._trt, replace(self._recipe, sm=(self._sm,)), "")
        return own.split()[-1] in target.replace(",", "").split()

    def _key(self, recipe: Recipe) -> str:
        target = target_text(self._trt, recipe, self._card)
        digest = digest_of(self._calibration)
        return engine_key(self._weights, recipe, self._trt.label, target, digest)

    def _path(self, recipe: Recipe) -> Path:
        return engine_path(self._folder, self._key(recipe), self._weights.file)

    @property
    def _folded(self) -> bool:
        folding = self._recipe.folding
        return folding is not None and folding.camera is not None

    def _context(
        self, engine: Engine, logger: Any, errors: list[str]
    ) -> tuple[Any, Any]:
        """Load an engine: its execution context, and the cache of its kernels."""
        api = self._trt.api
        runtime = api.Runtime(logger)
        self._check_validity(runtime, engine)
        loaded = runtime.deserialize_cuda_engine(engine.content)
        if loaded is None:
            raise refusal(
                f"{self._trt.label} cannot load its engine ({first_words(errors)})",
                file=self._weights.file,
                fix="build it again on this machine, or choose another runtime",
            )
        settings, cache = self._settings(loaded)
        context = loaded.create_execution_context(*settings)
        if context is None:
            raise refusal(
                f"{self._trt.label} cannot start its engine ({first_words(errors)})",
                file=self._weights.file,
                fix="close other programs that use the card",
            )
        self._keep += [logger, runtime, loaded, *settings, cache]
        return context, cache

    def _check_validity(self, runtime: Any, engine: Engine) -> None:
        """Ask TensorRT for RTX, which alone can tell why, before it is loaded."""
        ask = getattr(runtime, "get_engine_validity", None)
        if ask is None:
            return
        validity, reasons = ask(engine.content)
        names = self._trt.api.EngineInvalidityDiagnostics.__members__.items()
        told = [n.lower().replace("_", " ") for n, f in names if int(f) & int(reasons)]
        # Without a reason it is the card that is missing: loading says that better.
        if validity == self._trt.api.EngineValidity.INVALID and told:
            raise refusal(
                f"{self._trt.label} cannot use its engine here ({', '.join(told)})",
                file=self._weights.file,
                fix="build it again for this card, or update the driver",
            )

    def _settings(self, loaded: Any) -> tuple[tuple[Any, ...], Any]:
        """Only TensorRT for RTX compiles on the card: all at once, and kept."""
        api = self._trt.api
        if not hasattr(api, "DynamicShapesKernelSpecializationStrategy"):
            return (), None
        config = loaded.create_runtime_config()
        eager = api.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        # The graph recorded here holds the copies as well.
        config.cuda_graph_strategy = api.CudaGraphStrategy.DISABLED
        cache = config.create_runtime_cache()
        if self._jit is not None:
            with contextlib.suppress(OSError):
                # Refused by itself where card, driver or version are others.
                cache.deserialize(self._jit.read_bytes())
        config.set_runtime_cache(cache)
        return (config,), cache

    def _keep_kernels(self, cache: Any) -> None:
        if cache is None or self._jit is None:
            return
        kept = cache.serialize()
        if kept is not None:
            # A folder that cannot be written to costs seconds at the next start.
            with contextlib.suppress(OSError):
                write_whole(self._jit, bytes(kept))
