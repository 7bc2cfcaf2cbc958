"""What is odd about a case beside the others of its cohort."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medgan.inspection.facts import CaseFacts, Finding
from medgan.inspection.hounsfield import Intensity
from medgan.labels import LabelMap
from medgan.manifest.case import Case

CaseFindings = Iterator[tuple[str, Finding]]
"""Pairs of a case id, "" for the whole cohort, and what was found."""

_FEWEST = 4  # cases below which nothing is called unusual among them
_FACTOR = 3.0
_SIGMAS = 3.5
_SIGMA_PER_MAD = 1.4826
_MARGIN_MM = 5.0


def odd_intensities(cohort: Sequence[CaseFacts], *, expects_hu: bool) -> CaseFindings:
    """Yield images that are constant, and, where the cohort is CT, those that do not look like HU.

    Args:
        cohort: the cases that could be read.
        expects_hu: the configuration says CT; otherwise a channel is CT if it looks like HU in most cases.
    """
    num_channels = max((len(facts.intensities) for facts in cohort), default=0)
    for channel in range(num_channels):
        of_case = {f.case_id: f.intensities[channel] for f in cohort if len(f.intensities) > channel}
        name = f"channel {channel + 1}" if num_channels > 1 else "image"
        num_hu = sum(intensity.scale == "hu" for intensity in of_case.values())
        is_ct = expects_hu or 2 * num_hu > len(of_case)
        for case_id, intensity in of_case.items():
            if intensity.scale == "constant" or (is_ct and intensity.scale != "hu"):
                text = f"{name} {intensity.describe()}; values from {intensity.minimum:g} to {intensity.maximum:g}."
                yield case_id, Finding("intensity", text)
        yield from _cut_off(of_case, name)


def _cut_off(of_case: Mapping[str, Intensity], name: str) -> CaseFindings:
    cut = {c: i for c, i in of_case.items() if i.clipped_low is not None or i.clipped_high is not None}
    if 2 * len(cut) > len(of_case) and len(of_case) > 1:
        first = next(iter(cut.values())).describe()
        yield "", Finding("intensity", f"{name}: {len(cut)} of {len(of_case)} look cut off; the first {first}.")
        return
    for case_id, intensity in cut.items():
        yield case_id, Finding("intensity", f"{name} {intensity.describe()}.")


def outliers(cohort: Sequence[CaseFacts]) -> CaseFindings:
    """Yield cases whose spacing or extent is far from the cohort's median, along R, A or S.

    Far is a factor of three, and 3.5 standard deviations, as the median absolute deviation estimates them, of the
    logarithm.
    """
    if len(cohort) < _FEWEST:
        return
    for what, rows in (("spacing", [f.spacing_mm for f in cohort]), ("extent", [f.extent_mm for f in cohort])):
        logs = np.log(np.array(rows))
        middle = np.median(logs, axis=0)
        deviation = np.median(np.abs(logs - middle), axis=0) * _SIGMA_PER_MAD
        is_far = (np.abs(logs - middle) > np.maximum(np.log(_FACTOR), _SIGMAS * deviation)).any(axis=1)
        usual = _mm(np.exp(middle))
        for facts, row, far in zip(cohort, rows, is_far, strict=True):
            if far:
                text = f"{what} along R, A, S is {_mm(row)} mm, where the cohort's median is {usual} mm."
                yield facts.case_id, Finding("outlier", text)


def uneven_channels(cohort: Sequence[CaseFacts]) -> CaseFindings:
    """Yield cases with another number of channels than most."""
    counts = Counter(len(facts.intensities) for facts in cohort)
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    for facts in cohort:
        if (found := len(facts.intensities)) != usual:
            yield facts.case_id, Finding("channels", f"image has {found} channels, where most have {usual}.")


def empty_labels(cohort: Sequence[CaseFacts], labels: LabelMap | None) -> CaseFindings:
    """Yield labels that mark nothing, or lack an organ of the map."""
    for facts in cohort:
        if facts.regions is None:
            continue
        if not facts.regions:
            yield facts.case_id, Finding("empty_label", "label is empty: it marks no voxel.")
            continue
        found = {region.value for region in facts.regions}
        absent = [organ.name for organ in labels.organs if organ.value not in found] if labels else []
        if absent:
            yield facts.case_id, Finding("empty_label", f"label has no {', no '.join(absent)}.")


def swapped_sides(cohort: Sequence[CaseFacts], labels: LabelMap | None) -> CaseFindings:
    """Yield cases in which a left organ lies to the right of its mirror partner, by their centres.

    Where that is so in most cases, the whole cohort is named: the orientation, or the names, may be wrong in all.
    """
    swapped: dict[str, list[str]] = {}
    num_compared = 0
    for facts in cohort:
        x = {region.value: region.centre_mm[0] for region in facts.regions or ()}
        pairs = [(left, right) for left, right in _left_right_pairs(labels) if left[1] in x and right[1] in x]
        num_compared += bool(pairs)
        wrong = [f"{left[0]} and {right[0]}" for left, right in pairs if x[left[1]] > x[right[1]] + _MARGIN_MM]
        if wrong:
            swapped[facts.case_id] = wrong
    if len(swapped) >= _FEWEST and 2 * len(swapped) > num_compared:
        text = (
            f"left and right look swapped in {len(swapped)} of {num_compared} cases with both sides; "
            "do the names of the labels, or the orientation of all files, stand for what they say?"
        )
        yield "", Finding("sides", text)
    for case_id, wrong in swapped.items():
        yield case_id, Finding("sides", f"{', '.join(wrong)} look swapped: the left one lies further to the right.")


def duplicates(cohort: Sequence[CaseFacts], cases: Mapping[str, Case]) -> CaseFindings:
    """Yield images that several cases share, voxel for voxel; across splits that is leakage."""
    users: dict[tuple[str, ...], list[str]] = {}
    for facts in cohort:
        if any(intensity.scale != "constant" for intensity in facts.intensities):
            users.setdefault(facts.contents, []).append(facts.case_id)
    for same in users.values():
        if len(same) < 2:
            continue
        splits = {cases[case_id].split for case_id in same}
        named = ", ".join(f"{case_id} ({cases[case_id].split or 'no split'})" for case_id in same)
        if len(splits) > 1:
            yield "", Finding("leakage", f"one image is in several splits, so that results mean nothing: {named}.")
        else:
            yield "", Finding("duplicate", f"one image stands for several cases: {named}.")


def _left_right_pairs(labels: LabelMap | None) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """Return name and value of each left organ and its right partner."""
    by_name = {organ.name: organ for organ in labels.organs} if labels else {}
    pairs = []
    for organ in by_name.values():
        partner = by_name.get(organ.mirror or "")
        if partner is not None and (organ.side, partner.side) == ("left", "right"):
            pairs.append(((organ.name, organ.value), (partner.name, partner.value)))
    return pairs


def _mm(values: "Sequence[float] | np.ndarray") -> str:
    return " x ".join(f"{value:.3g}" for value in values)
