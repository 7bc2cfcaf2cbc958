"""What values mean beside one organ each: merged and ignored values, background, groups."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgan.errors import MedganError
from medgan.labels import LabelMap, OrganGroup

CHEST = {
    "lungs": {"organs": ["left_lung", "right_lung"], "color": "#010203"},
    "left_lung": 1,
    "right_lung": 2,
    "heart": {"value": 51, "merge": [52, 53]},
    "ignore": 255,
    "background": [7, 8],
}


def test_merged_values_are_their_organ_and_written_as_its_own() -> None:
    labels = LabelMap.from_mapping(CHEST)
    assert (labels.names, labels.values) == (("left_lung", "right_lung", "heart"), (1, 2, 51))
    assert labels.organs[2].merge == (52, 53)
    assert labels.organs[2].all_values == (51, 52, 53)
    values = np.array([[0, 1, 51], [52, 53, 2]], np.uint8)
    classes = labels.to_classes(values, where="x")
    assert (classes.tolist(), classes.dtype) == ([[0, 1, 3], [3, 3, 2]], np.uint8)
    assert labels.to_values(classes).tolist() == [[0, 1, 51], [51, 51, 2]]
    assert labels.to_own_values(values, where="x").tolist() == [[0, 1, 51], [51, 51, 2]]


def test_ignored_and_background_values_are_no_class() -> None:
    labels = LabelMap.from_mapping(CHEST)
    assert (labels.ignored, labels.background) == ((255,), (7, 8))
    values = np.array([255, 7, 8, 1, 0], np.uint8)
    assert labels.to_classes(values, where="x").tolist() == [0, 0, 0, 1, 0]
    ignored = labels.ignored_voxels(values)
    assert ignored is not None
    assert (ignored.tolist(), ignored.dtype) == ([True, False, False, False, False], bool)


def test_no_voxel_ignored_is_told_as_none() -> None:
    assert LabelMap.from_mapping(CHEST).ignored_voxels(np.array([0, 1, 7])) is None
    assert LabelMap.from_mapping({"heart": 1}).ignored_voxels(np.array([255])) is None


def test_several_values_are_ignored_beyond_what_the_volume_can_hold() -> None:
    labels = LabelMap.from_mapping({"heart": 1, "ignore": [4, 5, 70000]})
    ignored = labels.ignored_voxels(np.array([1, 4, 5, 0], np.uint8))
    assert ignored is not None
    assert ignored.tolist() == [False, True, True, False]


@pytest.mark.parametrize("values", [[0, 3, 9, 60000], [0, 3, 9, 2**32 - 1], [0, 3, 9, -1]])
def test_background_of_others_takes_every_value_that_is_not_named(values: list[int]) -> None:
    labels = LabelMap.from_mapping({"heart": 3, "background": "others"})
    assert labels.to_classes(np.array(values, np.int64), where="x").tolist() == [0, 1, 0, 0]


def test_a_value_without_a_meaning_is_refused_with_all_that_have_one() -> None:
    message = (
        r"case_01: label values \[9\] are not in the label map \(0 background, 1 left_lung, 2 right_lung, "
        r"51\+52\+53 heart, 7 background, 8 background, 255 ignored\)"
    )
    with pytest.raises(MedganError, match=message):
        LabelMap.from_mapping(CHEST).to_classes(np.array([9, 7, 255], np.uint8), where="case_01")


def test_a_plain_map_leaves_values_as_they_are() -> None:
    plain = LabelMap.from_mapping({"left": 1, "right": 2, "both": {"organs": ["left", "right"]}})
    values = np.array([1, 2])
    assert plain.is_plain
    assert plain.to_own_values(values, where="x") is values
    for extra in ({"ignore": 3}, {"background": "others"}, {"heart": {"value": 4, "merge": 5}}):
        assert not LabelMap.from_mapping({"left": 1, **extra}).is_plain


def test_groups_are_scored_after_the_organs() -> None:
    labels = LabelMap.from_mapping(CHEST)
    assert labels.groups == (OrganGroup("lungs", ("left_lung", "right_lung"), (1, 2, 3)),)
    assert labels.names_to_score == ("left_lung", "right_lung", "heart", "lungs")
    assert (labels.classes_of("lungs"), labels.classes_of("heart")) == ((1, 2), (3,))
    assert labels.num_classes == 4
    assert labels.find("lungs") is None


def test_groups_change_neither_colors_nor_partners_of_organs() -> None:
    organs = {"left_lung": 1, "right_lung": 2}
    group = {"left and right": {"organs": ["left_lung", "right_lung"]}}
    labels = LabelMap.from_mapping({**group, **organs})
    assert labels.organs == LabelMap.from_mapping(organs).organs
    assert labels.groups[0].color not in [organ.color for organ in labels.organs]


def test_all_of_it_reads_back_unchanged(tmp_path: Path) -> None:
    for extra in ({}, {"background": "others"}, {"ignore": [254, 255]}):
        labels = LabelMap.from_mapping({**CHEST, **extra})
        assert LabelMap.from_mapping(labels.to_mapping()) == labels
        labels.to_yaml(tmp_path / "labels.yaml")
        assert LabelMap.from_yaml(tmp_path / "labels.yaml") == labels


def test_a_plain_map_is_written_as_ever() -> None:
    detail = {"value": 3, "color": [1, 2, 3]}
    assert LabelMap.from_mapping({"heart": detail}).to_mapping() == {"heart": detail}


@pytest.mark.parametrize("background", [0, [0], [0, 7], 7])
def test_zero_may_be_listed_as_background(background: object) -> None:
    expected = () if background in (0, [0]) else (7,)
    assert LabelMap.from_mapping({"heart": 1, "background": background}).background == expected


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ({"ignore": 0}, "ignore must be a whole number from 1 to 4294967295, or a list of such, found 0"),
        ({"ignore": None}, "ignore must be a whole number .* found None"),
        ({"ignore": []}, r"ignore must be a whole number .* found \[\]"),
        ({"ignore": [255, True]}, r"ignore must be a whole number .* found \[255, True\]"),
        ({"ignore": {"value": 255}}, r"ignore must be a whole number .* found \{'value': 255\}"),
        ({"background": "rest"}, "background, unless it is 'others', must be a whole number .* found 'rest'"),
        ({"background": False}, "background, unless it is 'others', must be a whole number .* found False"),
        ({"background": []}, r"background, unless it is 'others', must be a whole number .* found \[\]"),
        ({"liver": {"value": 5, "merge": "6"}}, "organ liver: merge must be a whole number .* found '6'"),
        ({"liver": {"value": 5, "merge": [6, 6]}}, "liver: lists value 6 twice"),
        ({"liver": {"value": 5, "merge": [5]}}, "liver: lists value 5 twice"),
        ({"liver": {"value": 5, "merge": [1]}}, "value 1 is used by heart, liver"),
        ({"ignore": [1]}, "value 1 is used by heart, ignore"),
        ({"ignore": [9], "background": [9]}, "value 9 is used by ignore, background"),
        ({"all": {"organs": []}}, r"group all: organs must be a list of at least one organ's name, found \[\]"),
        ({"all": {"organs": "heart"}}, "group all: organs must be a list of at least one organ's name, found 'heart'"),
        ({"all": {"organs": [1]}}, r"group all: organs must be a list .* found \[1\]"),
        ({"all": {"organs": ["lung"]}}, "group all: 'lung' is not one of the organs"),
        ({"all": {"organs": ["heart", "heart"]}}, "group all: lists heart twice"),
        ({"all": {"organs": ["heart"], "value": 4}}, "group all: unknown key 'value'; known are organs, color"),
        ({"all": {"organs": ["heart"], "color": "red"}}, "group all: color must be '#rrggbb' .* found 'red'"),
        ({"<b>": {"organs": ["heart"]}}, "group name '<b>' must be text of letters"),
        ({"a": {"organs": ["heart"]}, "b": {"organs": ["a"]}}, "group b: 'a' is not one of the organs"),
    ],
)
def test_what_cannot_be_meant_is_refused(extra: dict[str, object], problem: str) -> None:
    with pytest.raises(MedganError, match=f"^labels: {problem}"):
        LabelMap.from_mapping({"heart": 1, **extra})


def test_groups_and_other_values_alone_are_no_map() -> None:
    with pytest.raises(MedganError, match="must name at least one organ, as in 'heart: 3'"):
        LabelMap.from_mapping({"ignore": 255})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(MedganError) as told:
        LabelMap.from_mapping({"heart": {"value": 1, "merge": 0}, "ignore": -1, "all": {"organs": ["x"]}})
    assert str(told.value).startswith("labels: 3 problems:\n")


_VALUE = st.one_of(st.integers(1, 300), st.integers(65000, 70000), st.just(2**32 - 1))


@st.composite
def _mappings(draw: st.DrawFn) -> dict[str, object]:
    values = draw(st.lists(_VALUE, min_size=1, max_size=12, unique=True))
    cuts = sorted(draw(st.lists(st.integers(1, len(values)), max_size=4)))
    parts = [values[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True) if values[a:b]]
    organs: dict[str, object] = {
        f"organ_{n}": {"value": first, "merge": rest or None} for n, (first, *rest) in enumerate(parts)
    }
    members = draw(st.lists(st.sampled_from(sorted(organs)), max_size=3, unique=True))
    mapping = {**organs, **({"group": {"organs": members}} if members else {})}
    spare = [value for value in (301, 302, 71000) if value not in values]
    if draw(st.booleans()):
        mapping["ignore"] = spare[0]
    if draw(st.booleans()):
        mapping["background"] = draw(st.sampled_from(["others", spare[1:]]))
    return mapping


@settings(max_examples=150, deadline=None)
@given(_mappings(), st.data())
def test_classes_are_those_that_looking_up_each_value_gives(mapping: dict[str, object], data: st.DataObject) -> None:
    labels = LabelMap.from_mapping(mapping)
    assert LabelMap.from_mapping(labels.to_mapping()) == labels
    meaning = {v: n for n, organ in enumerate(labels.organs, start=1) for v in organ.all_values}
    known = [0, *meaning, *labels.ignored, *(labels.background if labels.background != "others" else [5000])]
    drawn = data.draw(st.lists(st.sampled_from(known), max_size=20))
    for dtype in (np.uint32, np.int64):
        classes = labels.to_classes(np.array(drawn, dtype), where="x")
        assert classes.tolist() == [meaning.get(value, 0) for value in drawn]
    own = labels.to_values(classes)
    assert labels.to_classes(own, where="x").tolist() == classes.tolist()
    if labels.background != "others":
        with pytest.raises(MedganError, match=r"label values \[5000\] are not in the label map"):
            labels.to_classes(np.array([*drawn, 5000]), where="x")
