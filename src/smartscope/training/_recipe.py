"""What the recipes share: scaling, options, the record of a training, the credits."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    from smartscope.inference import Card

Report = Callable[[str], None]

ConfigT = TypeVar("ConfigT")
NetT = TypeVar("NetT")

CITE_DSB2018 = (
    "Caicedo et al. 2019, Nucleus segmentation across imaging experiments: the 2018 "
    "Data Science Bowl, doi 10.1038/s41592-019-0612-7"
)
_FLAT = 1e-6


class Taught(Protocol):
    """What every configuration of a recipe has."""

    @property
    def steps(self) -> int:
        """Batches."""

    @property
    def seed(self) -> int:
        """Of weights and images."""

    @property
    def threads(self) -> int:
        """Processor threads of torch."""


@dataclass(slots=True)
class Trained(Generic[ConfigT, NetT]):
    """A trained network with what is needed to publish it.

    Attributes
    ----------
    config
        Of the recipe.
    net
        In evaluation mode.
    losses : list of float
        Mean of each hundred steps.
    threshold : float
        Above it something was found; chosen on images or films made for that.
    """

    config: ConfigT
    net: NetT
    losses: list[float] = field(default_factory=list)
    threshold: float = 0.5


def standardised(image: NDArray[Any]) -> NDArray[np.float32]:
    """Zero mean, unit variance over all of it: `standardise` outside of a package."""
    image = image.astype(np.float32)
    return np.asarray((image - image.mean()) / (image.std() + _FLAT), np.float32)


def standardise() -> dict[str, Any]:
    """`standardised` as a package writes it."""
    return {
        "id": "zero_mean_unit_variance",
        "kwargs": {"axes": ["channel", "y", "x"], "eps": _FLAT},
    }


def add_training_arguments(parser: argparse.ArgumentParser, default: Taught) -> None:
    """Declare the options that every recipe has."""
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the package"
    )
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--threads", type=int, default=default.threads)
    parser.add_argument(
        "--checkpoint", type=Path, help="keep the state here, and go on from it"
    )


def add_package_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of every command that judges a package."""
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of the package"
    )
    parser.add_argument("--runtime", default="auto")


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def record(recipe: str, losses: Sequence[float], **settings: Any) -> bytes:
    """Everything needed to train a network again, as JSON.

    Parameters
    ----------
    recipe : str
        Command of ``python -m smartscope.training``.
    losses : sequence of float
    **settings
        Plain values by name.
    """
    import torch

    text = json.dumps(
        {
            "recipe": f"python -m smartscope.training {recipe}",
            **settings,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
            "losses": [round(loss, 4) for loss in losses],
        },
        indent=1,
    )
    return (text + "\n").encode()


def record_of(recipe: str, trained: Trained[Any, Any], **settings: Any) -> bytes:
    """`record` of a trained network: all of its configuration, and its threshold.

    Of folders only the names are kept: they lie elsewhere on another computer.
    """
    config = {
        name: value.name if isinstance(value, Path) else value
        for name, value in asdict(trained.config).items()
    }
    threshold = trained.threshold
    return record(
        recipe, trained.losses, config=config, threshold=threshold, **settings
    )


def card(config: Taught, training: dict[str, Any], **fields: Any) -> Card:
    """Card of a shipped model: version, licence, authors, how it was trained.

    Parameters
    ----------
    config
        Of the training.
    training : dict
        Data, licence and metrics; seed, steps and the version of torch are added.
    **fields
        Others of `Card`.
    """
    import torch

    from smartscope.inference import Card

    made = {"seed": config.seed, "steps": config.steps, "torch": str(torch.__version__)}
    return Card(
        version="1.0.0",
        training={**training, **made},
        licence="BSD-3-Clause",
        authors=("The smartscope founders",),
        **fields,
    )
