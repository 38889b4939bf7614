"""What policy authors and our own tests share: faults on real demo devices."""

from smartscope.testing._faults import FaultyCore, fails

__all__ = ["FaultyCore", "fails"]
