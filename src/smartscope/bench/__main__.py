"""One job in a process of its own: ``python -m smartscope.bench JOB`` prints JSON."""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Run the job given as JSON and print what was measured, the last line, as JSON."""
    # Only what the job needs is imported: the start-up of a peer is measured here.
    from smartscope.bench._job import Job

    job = Job.from_json(sys.argv[1])
    print(json.dumps(job.run()), flush=True)


if __name__ == "__main__":
    main()
