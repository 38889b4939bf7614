"""What was edited while a run goes on, on its way to the policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartscope.policies import source_of

if TYPE_CHECKING:
    from smartscope.policies import PolicyFactory


@dataclass(frozen=True, slots=True)
class Reload:
    """A policy with other parameters, or of another source; loaded and checked.

    Attributes
    ----------
    factory : PolicyFactory
        What shall make its instances from now on.
    """

    factory: PolicyFactory

    def differs(self, before: PolicyFactory) -> bool:
        """Whether it is anything else than what runs already."""
        now = self.factory
        return now.policy is not before.policy or now.parameters != before.parameters

    def words(self, before: PolicyFactory) -> str:
        """What is different, for people."""
        old, new = before.parameters, self.factory.parameters
        changed = [
            f"{name} {_short(old.get(name))} -> {_short(value)}"
            for name, value in new.items()
            if name not in old or old[name] != value
        ]
        if self.factory.policy is not before.policy:
            changed.insert(0, f"file {self.factory.source_hash[:12]}")
        return ", ".join(changed) or "parameters removed"

    def entry(self, before: PolicyFactory, observation: int) -> dict[str, Any]:
        """Everything that deciding again needs, for the journal."""
        now = self.factory
        new_file = now.policy is not before.policy
        return {
            "policy": now.name,
            "observation": observation,
            "what": "file" if new_file else "parameters",
            "class": now.policy.__name__,
            "parameters": now.parameters,
            "source_sha256": now.source_hash,
            "source": source_of(now.policy).decode() if new_file else None,
        }


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
