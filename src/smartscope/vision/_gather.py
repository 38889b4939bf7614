"""Gathers the frames of one group over channels and planes until a stage can run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.vision._stage import UNNAMED, Input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.core import Frame, View


@dataclass(slots=True, eq=False)
class Gathered:
    """The images of one group that are there, and the frames they came from.

    Attributes
    ----------
    images : mapping of Input to ndarray (y, x)
        Read-only. Of the frame's dtype; float32 for a mean over several planes;
        ``(z, y, x)`` where a stack is wanted.
    frames : list of Frame
        Used ones, in order of arrival.
    first_of : mapping of Input to Frame
        First frame that went into each input.
    """

    images: dict[Input, NDArray[Any]] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    first_of: dict[Input, Frame] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Open:
    """One group that is being gathered."""

    group: tuple[str | int, ...]
    gathered: Gathered = field(default_factory=Gathered)
    seen: set[tuple[str, int]] = field(default_factory=set)
    final: set[Input] = field(default_factory=set)
    planes: dict[Input, int] = field(default_factory=dict)
    stacks: dict[Input, dict[int, NDArray[Any]]] = field(default_factory=dict)
    answered: bool = False


class Gatherer:
    """Holds at most one open group per view.

    Parameters
    ----------
    required, optional : sequences of Input
        A group without one of the `required` inputs is given up when it ends;
        `optional` ones are waited for while the group is open.
    channels : sequence of str
        Channels of the plan, for frames whose rig does not name theirs.

    Attributes
    ----------
    dropped : int
        Groups given up: a frame failed, or a needed channel was not taken.
    """

    def __init__(
        self,
        required: Sequence[Input],
        optional: Sequence[Input],
        channels: Sequence[str],
    ) -> None:
        self._required = frozenset(required)
        self._wanted = tuple(dict.fromkeys((*required, *optional)))
        self._channels = tuple(channels)
        self._open: dict[View, _Open] = {}
        # What a frame that is a whole group gives, by its channel, c and z: its
        # inputs, and whether they are all that must be there.
        self._alone: dict[
            tuple[str | None, int, int], tuple[tuple[Input, ...], bool]
        ] = {}
        self.dropped = 0

    def add(self, frame: Frame) -> Gathered | None:
        """Take a frame; the gathered group when everything wanted is there.

        A group is answered once, as early as no frame to come could change what the
        stages see; what remains of it is passed over.
        """
        if frame.last_of_group and not self._open:
            return self._whole(frame)
        return self._gather(frame)

    def _whole(self, frame: Frame) -> Gathered | None:
        """Take a frame that is a group by itself, as those of a stream are."""
        index = frame.index
        key = (frame.state.channel, index.get("c", 0), index.get("z", 0))
        found = self._alone.get(key)
        if found is None:
            found = self._alone[key] = self._alone_gives(frame)
        inputs, enough = found
        if enough:
            images = {
                one: frame.pixels[np.newaxis] if one.z == "all" else frame.pixels
                for one in inputs
            }
            return Gathered(images, [frame], dict.fromkeys(inputs, frame))
        if inputs:
            self.dropped += 1
        return None

    def _alone_gives(self, frame: Frame) -> tuple[tuple[Input, ...], bool]:
        channel, plane = self._channel(frame), int(frame.index.get("z", 0))
        inputs = tuple(
            wanted
            for wanted in self._wanted
            if wanted.channel == channel
            and (not isinstance(wanted.z, int) or wanted.z == plane)
        )
        return inputs, bool(inputs) and self._required <= set(inputs)

    def _gather(self, frame: Frame) -> Gathered | None:
        key = (self._channel(frame), int(frame.index.get("z", 0)))
        now = self._open.get(frame.view)
        if now is None or now.group != frame.group or key in now.seen:
            self._give_up(frame.view)
            now = self._open[frame.view] = _Open(frame.group)
        now.seen.add(key)
        if not now.answered:
            self._take(now, frame, *key)
        ready = not now.answered and self._ready(now, frame.last_of_group)
        if ready:
            now.answered = True
            self._stack(now)
        if frame.last_of_group:
            self._give_up(frame.view)
        elif ready:
            # Only its name is needed to pass over the rest: let the pixels go.
            self._open[frame.view] = _Open(now.group, seen=now.seen, answered=True)
        return now.gathered if ready else None

    def forget(self, view: View) -> None:
        """Drop what is open in this view, uncounted."""
        self._open.pop(view, None)

    def reset(self) -> None:
        """Drop everything and count from zero."""
        self._open.clear()
        self.dropped = 0

    def _give_up(self, view: View) -> None:
        gone = self._open.pop(view, None)
        if gone is not None and not gone.answered and gone.gathered.frames:
            self.dropped += 1

    def _channel(self, frame: Frame) -> str:
        if frame.channel is not None:
            return frame.channel if self._channels else UNNAMED
        c = int(frame.index.get("c", 0))
        return self._channels[c] if c < len(self._channels) else UNNAMED

    def _take(self, now: _Open, frame: Frame, channel: str, plane: int) -> None:
        found = now.gathered
        used = False
        for wanted in self._wanted:
            if wanted.channel != channel:
                continue
            if isinstance(wanted.z, int):
                if wanted.z != plane:
                    continue
                found.images[wanted] = frame.pixels
                now.final.add(wanted)
            elif wanted.z == "all":
                now.stacks.setdefault(wanted, {})[plane] = frame.pixels
                if "z" not in frame.index:
                    now.final.add(wanted)
            else:
                self._project(now, wanted, frame.pixels)
                if "z" not in frame.index:
                    now.final.add(wanted)
            found.first_of.setdefault(wanted, frame)
            used = True
        if used:
            found.frames.append(frame)

    def _project(self, now: _Open, wanted: Input, pixels: NDArray[Any]) -> None:
        """Fold a plane into a projection, so that no stack is ever held."""
        images, count = now.gathered.images, now.planes.get(wanted, 0)
        now.planes[wanted] = count + 1
        if count == 0:
            images[wanted] = pixels
        elif wanted.z == "max":
            images[wanted] = np.maximum(images[wanted], pixels)
        else:
            before = images[wanted].astype(np.float32)
            images[wanted] = before + (pixels - before) / np.float32(count + 1)

    def _stack(self, now: _Open) -> None:
        """Put the planes of each stack in the order of the plan's z axis."""
        for wanted, planes in now.stacks.items():
            stack = np.stack([planes[number] for number in sorted(planes)])
            now.gathered.images[wanted] = stack

    def _ready(self, now: _Open, last: bool) -> bool:
        if last:
            there = now.gathered.images.keys() | now.stacks.keys()
            return bool(there) and self._required <= there
        return all(wanted in now.final for wanted in self._wanted)
