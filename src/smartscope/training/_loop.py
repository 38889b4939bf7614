"""The training loop of every recipe. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from pathlib import Path

NetT = TypeVar("NetT", bound=nn.Module)
Batch = Mapping[str, NDArray[Any]]
Loss = Callable[[nn.Module, Mapping[str, Tensor]], tuple[Tensor, Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a network learns.

    Attributes
    ----------
    steps : int
        Batches.
    rate : float
        Highest learning rate of the one-cycle schedule (Smith & Topin 2018).
    weight_decay : float
        Of AdamW.
    ema : float
        Decay of the running mean of the weights that is kept as the result; 0: none.
    clip : float
        Largest norm of the gradient.
    threads : int
        Processor threads of torch.
    bf16 : bool
        Compute in bfloat16 where the processor has it.
    warm : float
        Share of the steps in which the rate rises.
    """

    steps: int
    rate: float = 2e-3
    weight_decay: float = 1e-3
    ema: float = 0.999
    clip: float = 5.0
    threads: int = 2
    bf16: bool = True
    warm: float = 0.1


@dataclass(slots=True)
class Fitted(Generic[NetT]):
    """A trained network and how it went.

    Attributes
    ----------
    net : torch.nn.Module
        In evaluation mode, holding the averaged weights.
    losses : list of float
        Mean loss of each block of up to 100 steps.
    seconds : float
        Wall time.
    """

    net: NetT
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


def fit(
    net: NetT,
    make: Callable[[int], Batch],
    loss: Loss,
    schedule: Schedule,
    *,
    checkpoint: Path | None = None,
    checkpoint_every: int = 1000,
    report: Callable[[str], None] | None = None,
) -> Fitted[NetT]:
    """Train `net` on batches ``make(0), make(1), ...``.

    Parameters
    ----------
    net : torch.nn.Module
        Trained in place; the result holds a copy with averaged weights.
    make : callable
        Batch of a step: named NumPy arrays, handed to `loss` as tensors. Arrays of four
        axes are laid out channels last.
    loss : callable
        ``loss(net, tensors) -> (scalar tensor, {name: part})``; it calls the network.
    schedule : Schedule
        Steps, rates, precision.
    checkpoint : Path, optional
        Where the state is kept; training goes on from there where the file exists.
    report : callable, optional
        Told one line about every hundred steps.
    """
    torch.set_num_threads(schedule.threads)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train()
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=schedule.rate, weight_decay=schedule.weight_decay
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        schedule.rate,
        total_steps=schedule.steps + 1,
        pct_start=schedule.warm,
    )
    average = copy.deepcopy(net)
    first = 0
    losses: list[float] = []
    if checkpoint is not None and checkpoint.exists():
        first, losses = _resume(checkpoint, net, average, optimiser, cycle)
    started = time.monotonic()
    recent: list[float] = []
    for step in range(first, schedule.steps):
        # No second thread prepares batches: it would fight for the interpreter with
        # hundreds of small operations, and make a step three times as slow.
        value, parts = _step(net, make(step), loss, optimiser, schedule)
        cycle.step()
        _average(average, net, min(schedule.ema, (1 + step) / (10 + step)))
        recent.append(value)
        if len(recent) == 100 or step + 1 == schedule.steps:
            losses.append(float(np.mean(recent)))
            recent.clear()
            if report is not None:
                said = " ".join(f"{k} {v:.4f}" for k, v in parts.items())
                took = time.monotonic() - started
                report(
                    f"step {step + 1}/{schedule.steps} loss {losses[-1]:.4f} "
                    f"({said}) {took:.0f} s"
                )
        if checkpoint is not None and (step + 1) % checkpoint_every == 0:
            _keep(checkpoint, step + 1, losses, net, average, optimiser, cycle)
    average.eval()
    return Fitted(average, losses, time.monotonic() - started)


def _step(
    net: nn.Module,
    batch: Batch,
    loss: Loss,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
) -> tuple[float, Mapping[str, float]]:
    tensors = {}
    for name, array in batch.items():
        tensor = torch.from_numpy(array)
        tensors[name] = (
            tensor.contiguous(memory_format=torch.channels_last)
            if array.ndim == 4
            else tensor
        )
    with torch.autocast("cpu", torch.bfloat16, enabled=schedule.bf16):
        value, parts = loss(net, tensors)
    optimiser.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), schedule.clip)
    optimiser.step()
    return float(value.detach()), parts


@torch.no_grad()
def _average(average: nn.Module, net: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), net.parameters(), strict=True):
        kept.lerp_(new, 1.0 - decay)
    for held, seen in zip(average.buffers(), net.buffers(), strict=True):
        if held.dtype.is_floating_point:
            held.lerp_(seen, 1.0 - decay)
        else:
            held.copy_(seen)


def _keep(
    path: Path,
    step: int,
    losses: Sequence[float],
    net: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    cycle: torch.optim.lr_scheduler.OneCycleLR,
) -> None:
    state = {
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "cycle": cycle.state_dict(),
        "progress": json.dumps({"step": step, "losses": list(losses)}),
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)  # a crash while writing leaves the older file


def _resume(
    path: Path,
    net: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    cycle: torch.optim.lr_scheduler.OneCycleLR,
) -> tuple[int, list[float]]:
    state = torch.load(path, weights_only=True)
    net.load_state_dict(state["net"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    cycle.load_state_dict(state["cycle"])
    progress = json.loads(state["progress"])
    return int(progress["step"]), list(progress["losses"])
