"""What the measures are called, and what exactly they are: one source for all pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Words:
    """Title in a table, number format, and the definition."""

    title: str
    style: str
    meaning: str


WORDS: Mapping[str, Words] = {
    "recall": Words(
        "events caught",
        ".3f",
        "Recall: of the events that had to be found, the share that vision reported "
        "while they lasted. An event has to be found when its onset and its end lie at "
        "least `settle_s` after the first and before the last frame, and its place at "
        "least `margin_um` inside a field of the plan. A report is of an event when it "
        "is first made within `within_um` of it, no earlier than `slack_s` before its "
        "onset and no later than `slack_s` after its end. Reports and events are "
        "matched one to one, as many as can be, the nearest first.",
    ),
    "precision": Words(
        "precision",
        ".3f",
        "Of all reports, the share that is of a true event, asked for or not. The "
        "second report of one event is false.",
    ),
    "coverage": Words(
        "filmed at target rate",
        ".3f",
        "Coverage: mean share of an event, from onset to end, that was filmed at the "
        "target rate, over all events that had to be found, caught or not. Each frame "
        "with the event in its field covers one `fast_interval_s` around its exposure; "
        "overlaps count once. A rate ten times too slow covers a tenth.",
    ),
    "reported_after_s": Words(
        "onset to report, s",
        ".1f",
        "Mean time from the true onset to the first report, over the events caught.",
    ),
    "reacted_after_s": Words(
        "onset to reaction, s",
        ".1f",
        "Mean time from the true onset until the target rate begins, 0 where it was on "
        "already, over the events that got it before they ended. Without a target "
        "rate: until the first executed action about that event.",
    ),
    "dose": Words(
        "light on the field",
        ".3g",
        "Light on the field over the whole run, by the dose ledger.",
    ),
    "dose_per_cell": Words(
        "light per cell, percent-s",
        ".3g",
        "Mean light that a cell which was ever lit has received by the end, from the "
        "truth, in percent-seconds (power in percent times lit seconds). Daughters "
        "begin with their mother's.",
    ),
    "dose_per_event": Words(
        "light per event caught",
        ".3g",
        "Light on the field over events caught.",
    ),
    "alive": Words(
        "alive at the end",
        ".1f",
        "Objects of the whole sample that live at the last look at the truth.",
    ),
    "time_on_target": Words(
        "time on target",
        ".3f",
        "Share of the frames in which the target truly lies in the central part of the "
        "field: the share `central` of its area. Dead or lost counts as off target.",
    ),
    "in_view": Words(
        "target in view",
        ".3f",
        "Share of the frames in which the target truly lies in the field.",
    ),
    "tracking_error_um": Words(
        "tracking error, um",
        ".2f",
        "Mean distance of the true target from the middle of the field.",
    ),
    "identity_kept": Words(
        "identity kept",
        ".3f",
        "Share of the specimens in which the target is still the one that is followed "
        "at the end: in most of the last ten frames it truly lies in the central part "
        "of the field, and no other living object is nearer to the middle.",
    ),
    "path_fields": Words(
        "its path, fields",
        ".1f",
        "Length of the true path of the target, in sides of the field.",
    ),
    "touched": Words(
        "target touched",
        ".3f",
        "How crowded it is: share of the looks at the truth at which another living "
        "object overlaps the target.",
    ),
    "in_focus": Words(
        "in focus",
        ".3f",
        "Share of the frames of the plan whose focus is within half the depth of field "
        "(`depth_um`) of the plane in which the sample truly is sharp. Frames that a "
        "policy adds, as those of a focus sweep, are none of the plan.",
    ),
    "focus_error_um": Words(
        "focus error, um",
        ".2f",
        "Mean distance of the focus from that plane.",
    ),
    "snr_held": Words(
        "SNR held",
        ".3f",
        "Share of the frames whose signal to noise, as vision measures it (mean over "
        "the objects), is within `snr_within` of that of the first five frames.",
    ),
    "level_held": Words(
        "level held",
        ".3f",
        "Share of the looks at the truth, after `settle_s`, at which the controlled "
        "quantity is within `within` of its target, relatively. Where each object has "
        "its own, it is the mean over all of the sample that live then.",
    ),
    "level_error": Words(
        "level error",
        ".3f",
        "Mean relative distance of the controlled quantity from its target, over the "
        "same looks.",
    ),
    "on_path": Words(
        "on its path",
        ".3f",
        "Share of the looks at the truth at which the object is within `within_um` of "
        "its path.",
    ),
    "path_error_um": Words(
        "off its path, um",
        ".2f",
        "Mean distance of the object from its path.",
    ),
    "path_walked": Words(
        "path walked",
        ".3f",
        "Share of the length of the path that the object has come along by the end. "
        "From look to look it counts as coming along no further than to the nearest of "
        "the next `within_um` of the path, so what was cut off was not walked.",
    ),
    "duty": Words(
        "time at target rate",
        ".3f",
        "Share of the run during which frames follow each other within 1.5 times "
        "`fast_interval_s`.",
    ),
    "frames": Words("frames", ".0f", "Frames acquired, of all channels and planes."),
    "megabytes": Words("megabytes", ".1f", "Their pixels, uncompressed."),
}

ARMS: Mapping[str, str] = {
    "policy": "policy",
    "fixed_fast": "fixed fast",
    "fixed_slow": "fixed slow",
    "random": "random, same duty",
    "none": "no policy",
}
"""Arms as people call them."""

METHOD = (
    "Each specimen is one seed: the same seed is the same sample, before light changes "
    "it, in every arm. Values are pooled: sums over sums of all specimens. Intervals "
    "are of 95 %: of a share of counts Wilson's score interval, of everything else and "
    "of every comparison a bias-corrected and accelerated bootstrap of "
    "{draws:,} draws over specimens (Efron 1987), in comparisons with both arms of a "
    "specimen drawn together; where no draw differs, the counts of a comparison get an "
    "interval from the score intervals of both (Newcombe 1998; Donner and Zou 2012)."
)

INTRODUCTION = (
    "Which policy is better, on specimens whose truth is known. Written by "
    "`smartscope score --full --write-docs docs/scoreboard.md`; do not edit it by "
    "hand. The scenarios are `demo_configs/scenarios/*.yaml`.",
    "Arms differ in nothing but their policies. *policy*: the experiment as it is; "
    "*fixed fast*, *fixed slow*: always that rate; *random, same duty*: fast at random "
    "times, as much as the policy on the same specimen; *no policy*: the plan alone. "
    "No policy and no stage of vision sees the truth.",
    "`smartscope score EXPERIMENT --seeds 8` does the same for a policy of your own, "
    "on any rig with a specimen; what an experiment says about it stands in its "
    "section [`score`](experiment-file.md#score). Parameters are chosen with "
    "`--tuning`, on specimens that no page shows.",
)
"""How ``docs/scoreboard.md`` begins."""
