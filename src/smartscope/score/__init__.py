"""Which policy is better: experiments on specimens whose truth is known.

Every arm of a comparison runs on the same specimens in virtual time and differs in its
policies alone; what happened is measured against the truth, with intervals.
"""

from smartscope.score._arms import Duty, arm_of, score_of
from smartscope.score._film import Course, Film, Sights, happened, read_film
from smartscope.score._match import Happened, Matched, Place, Reported, match
from smartscope.score._picture import picture
from smartscope.score._run import Job, rig_with_seed, run_job, with_seed
from smartscope.score._score import Scenario, Scoreboard, Verdict, score, verdicts
from smartscope.score._stats import Estimate, compared, newcombe, pooled, wilson
from smartscope.score._tables import (
    from_json,
    page,
    picture_name,
    to_json,
    to_markdown,
    to_text,
)

__all__ = [
    "Course",
    "Duty",
    "Estimate",
    "Film",
    "Happened",
    "Job",
    "Matched",
    "Place",
    "Reported",
    "Scenario",
    "Scoreboard",
    "Sights",
    "Verdict",
    "arm_of",
    "compared",
    "from_json",
    "happened",
    "match",
    "newcombe",
    "page",
    "picture",
    "picture_name",
    "pooled",
    "read_film",
    "rig_with_seed",
    "run_job",
    "score",
    "score_of",
    "to_json",
    "to_markdown",
    "to_text",
    "verdicts",
    "wilson",
    "with_seed",
]
