"""What was reloaded in a run, done again at the same sights."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from smartscope.policies import policy_from_source, remake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.config import Experiment
    from smartscope.control import PolicyHost
    from smartscope.record import RunFolder


class ReloadsThen:
    """The reloads of one run, from its journal.

    Parameters
    ----------
    folder : RunFolder
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._touched: set[str] = set()
        self._at: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for entry in folder.entries("reload"):
            self._touched.add(entry["policy"])
            if "parameters" in entry and "refused" not in entry:
                self._at[entry["observation"]].append(entry)
        self._uses: dict[str, Any] = {}

    def as_it_began(self, experiment: Experiment) -> Experiment:
        """Return the experiment with the policies as they were at the start.

        A policy that was edited while the run went on is taken from the run's copy of
        its source; its own file is another by now.
        """
        began = {
            known["name"]: f"{self._folder.path / known['source']}:{known['class']}"
            for known in self._folder.header.get("policies", ())
            if known["name"] in self._touched
        }
        policies = tuple(
            use.model_copy(
                update={"use": began.get(use.called, use.use), "name": use.called}
            )
            for use in experiment.policies
        )
        self._uses = {use.called: use for use in policies}
        return experiment.model_copy(update={"policies": policies})

    def apply(self, host: PolicyHost, observation: int) -> None:
        """Reload what was reloaded before this observation was decided on."""
        for entry in self._at.get(observation, ()):
            name = entry["policy"]
            before, policy = host.factory(name), host.factory(name).policy
            if entry["source"] is not None:
                use = f"{name}.py:{entry['class']}"
                path = self._folder.path / f"{name}.py"
                policy = policy_from_source(use, entry["source"].encode(), path)
            new = {"parameters": entry["parameters"]}
            use_then = self._uses[name].model_copy(update=new)
            host.reload(remake(before, use_then, policy, name))
