"""How much: controllers that hold a value. Time is always `seen.t_s`, seconds."""

from __future__ import annotations

import math

from smartscope.policies._helpers_gates import Hysteresis


class PID:
    """Proportional, integral and derivative control with limits, for uneven sights.

    ``output = kp * error + integral of ki * error - kd * rate``, where ``error =
    setpoint - measured`` and ``rate`` is the change of what is measured per second.
    The derivative looks at the measurement alone, so a new `setpoint` gives no kick.
    What would push the output beyond a limit is not added to the integral (no
    windup), so it answers at once when the error turns.

    With U the unit of the output and M that of the measurement, `kp` is in U/M, `ki`
    in U/(M s) and `kd` in U s/M. Where more output lowers the measurement all three
    are negative.

    Parameters
    ----------
    setpoint : float
        What is wanted, M; may be changed at any time.
    kp, ki, kd : float
    lowest, highest : float
        Limits of the output, U.
    start : float
        Output at no error before the first update, U: for example the present power.
    smooth_s : float
        Time constant of a first-order low-pass on the rate; 0 takes it as it is.
    max_gap_s : float
        After a longer time without a measurement the integral gains nothing for the
        gap, and the rate begins anew.

    Notes
    -----
    K. J. Astrom and T. Hagglund, "PID Controllers: Theory, Design, and Tuning", 2nd
    edition, ISA, 1995, chapter 3; limits: K. J. Astrom and L. Rundqwist, "Integrator
    windup and how to avoid it", American Control Conference 1989, 1693-1698.

    Examples
    --------
    Light in percent that holds a signal, which here is five times the light:

    >>> light = PID(setpoint=100, kp=0.05, ki=0.02, lowest=0, highest=50, start=10)
    >>> power = 10.0
    >>> for t_s in range(0, 60, 2):
    ...     power = light.update(5 * power, t_s)
    >>> round(power)
    20
    """

    def __init__(
        self,
        setpoint: float,
        kp: float,
        ki: float = 0.0,
        kd: float = 0.0,
        *,
        lowest: float,
        highest: float,
        start: float = 0.0,
        smooth_s: float = 0.0,
        max_gap_s: float = math.inf,
    ) -> None:
        if not lowest <= highest:
            raise ValueError(
                f"lowest ({lowest:g}) must not be above highest ({highest:g})"
            )
        if not (smooth_s >= 0 and max_gap_s > 0):
            raise ValueError("smooth_s must be 0 or more, and max_gap_s above 0")
        self.setpoint = setpoint
        self.kp = kp
        self.ki = ki
        self.kd = kd
        self.lowest = lowest
        self.highest = highest
        self.smooth_s = smooth_s
        self.max_gap_s = max_gap_s
        self.output = self._limited(start)
        self._integral = self.output
        self._rate = 0.0
        self._last: tuple[float, float] | None = None

    def update(self, measured: float, t_s: float) -> float:
        """Take what is measured at `t_s`; return the output, U.

        What is no finite number leaves everything as it is. Two sights of the same
        time count as no time between them.
        """
        if not math.isfinite(measured):
            return self.output
        dt_s = self._time_since(t_s)
        if dt_s > 0:
            self._take_rate(measured, dt_s)
        error = self.setpoint - measured
        rest = self.kp * error - self.kd * self._rate
        self._integrate(self.ki * error * dt_s, rest)
        self._last = (t_s, measured)
        self.output = self._limited(self._integral + rest)
        return self.output

    def take_over(self, output: float) -> None:
        """Go on from this output, which somebody else has set, without a jump.

        Also for an output that was refused or cut to a limit of the rig.
        """
        output = self._limited(output)
        self._integral += output - self.output
        self.output = output

    def _time_since(self, t_s: float) -> float:
        if self._last is None:
            return 0.0
        dt_s = t_s - self._last[0]
        if dt_s > self.max_gap_s:
            self._rate = 0.0
            return 0.0
        return max(0.0, dt_s)

    def _take_rate(self, measured: float, dt_s: float) -> None:
        before = self._last[1] if self._last is not None else measured
        part = dt_s / (self.smooth_s + dt_s)
        self._rate += part * ((measured - before) / dt_s - self._rate)

    def _integrate(self, step: float, rest: float) -> None:
        """Add `step` as far as it does not push the output beyond a limit."""
        now = self._integral + rest
        if step > 0:
            self._integral += min(step, max(0.0, self.highest - now))
        else:
            self._integral += max(step, min(0.0, self.lowest - now))

    def _limited(self, output: float) -> float:
        return min(max(output, self.lowest), self.highest)


class BangBang:
    """Two outputs: the higher while too little is measured, the lower while too much.

    It switches at the edges of a band around the setpoint and stays at least
    `min_dwell_s` with each output, so noise inside the band does nothing.

    Parameters
    ----------
    setpoint, band : float
        What is wanted, and the whole width of the band around it, in the unit of the
        measurement.
    low, high : float
        The two outputs, in a unit of their own; it begins with `low`.
    min_dwell_s : float
    raises : bool
        Whether the higher output raises the measurement; False where it lowers it.

    Notes
    -----
    A relay with hysteresis: K. J. Astrom and R. M. Murray, "Feedback Systems",
    Princeton University Press, 2008, sections 1.4 and 2.3.

    Examples
    --------
    >>> heater = BangBang(37, band=1, high=100)
    >>> [heater.update(level, t_s) for t_s, level in enumerate([30, 37, 38, 37, 36])]
    [100, 100, 0.0, 0.0, 100]
    """

    def __init__(
        self,
        setpoint: float,
        band: float,
        *,
        low: float = 0.0,
        high: float = 1.0,
        min_dwell_s: float = 0.0,
        raises: bool = True,
    ) -> None:
        if not band >= 0:
            raise ValueError(f"band must be 0 or more, got {band:g}")
        self.setpoint = setpoint
        self.low = low
        self.high = high
        self.raises = raises
        half = band / 2
        self._switch = Hysteresis(half, -half, min_dwell_s, min_dwell_s)

    @property
    def output(self) -> float:
        """The output as it is."""
        return self.high if self._switch.is_on else self.low

    def update(self, measured: float, t_s: float) -> float:
        """Take what is measured at `t_s`; return the output.

        What is no finite number leaves the output as it is.
        """
        if math.isfinite(measured):
            wanting = self.setpoint - measured
            self._switch.update(wanting if self.raises else -wanting, t_s)
        return self.output
