"""Light dose as a number that knows its unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """Light delivered to one place, or to a whole run.

    Attributes
    ----------
    percent_s : float
        Relative dose: power in percent of the line's range x lit seconds. Always known;
        comparable only within one line and objective.
    j_cm2 : float or None
        Energy over area at the sample. None if some of the light was not calibrated.
    lit_s : float
        Seconds with light, summed over lines.
    """

    percent_s: float = 0.0
    j_cm2: float | None = 0.0
    lit_s: float = 0.0

    @property
    def unit(self) -> str:
        """``J/cm2``, or ``percent-seconds`` where it is only known relatively."""
        return "percent-seconds" if self.j_cm2 is None else "J/cm2"

    @property
    def value(self) -> float:
        """The number in `unit`."""
        return self.percent_s if self.j_cm2 is None else self.j_cm2

    def __add__(self, other: Dose) -> Dose:
        known = self.j_cm2 is not None and other.j_cm2 is not None
        return Dose(
            percent_s=self.percent_s + other.percent_s,
            j_cm2=(self.j_cm2 or 0.0) + (other.j_cm2 or 0.0) if known else None,
            lit_s=self.lit_s + other.lit_s,
        )

    def __str__(self) -> str:
        relative = " (relative, not calibrated)" if self.j_cm2 is None else ""
        return f"{self.value:.3g} {self.unit}{relative}"

    def to_dict(self) -> dict[str, float | str | None]:
        """Plain values for journal and report."""
        return {
            "value": self.value,
            "unit": self.unit,
            "percent_s": self.percent_s,
            "j_cm2": self.j_cm2,
            "lit_s": self.lit_s,
        }
