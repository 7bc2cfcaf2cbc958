"""Labels as they are typed on a command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgan.errors import MedganError
from medgan.labels import LabelMap


def test_names_and_values_are_organs() -> None:
    labels = LabelMap.from_text("lung_left=1,lung_right=2,heart=3")
    assert labels == LabelMap.from_mapping({"lung_left": 1, "lung_right": 2, "heart": 3})
    assert labels.organs[0].mirror == "lung_right"


def test_blanks_do_not_matter() -> None:
    assert LabelMap.from_text(" left lung = 1 , heart= 2 + 4 ") == LabelMap.from_text("left lung=1,heart=2+4")


def test_values_of_no_other_organ_are_merged() -> None:
    labels = LabelMap.from_text("lung=1,heart=51+52+53")
    assert labels.organs[1].all_values == (51, 52, 53)
    assert labels.groups == ()


@pytest.mark.parametrize("text", ["left=1,right=2,lungs=1+2", "lungs=1+2,left=1,right=2", "left=1,lungs=2+1,right=2"])
def test_values_of_other_organs_are_a_group_wherever_it_stands(text: str) -> None:
    labels = LabelMap.from_text(text)
    assert labels.names == ("left", "right")
    assert [(group.name, sorted(group.organs)) for group in labels.groups] == [("lungs", ["left", "right"])]


def test_a_group_may_hold_an_organ_of_several_values() -> None:
    labels = LabelMap.from_text("chest=1+51+52,lung=1,heart=51+52")
    assert [(group.name, group.organs) for group in labels.groups] == [("chest", ("lung", "heart"))]


def test_background_and_ignored_values_are_as_in_a_file() -> None:
    labels = LabelMap.from_text("heart=1,ignore=254+255,background=others")
    assert (labels.ignored, labels.background) == ((254, 255), "others")
    assert LabelMap.from_text("heart=1,background=7+8").background == (7, 8)
    assert LabelMap.from_text("heart=1,background=0").background == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be like 'lung_left=1,lung_right=2', found ''"),
        ("heart", "must be like 'lung_left=1,lung_right=2', found 'heart'"),
        ("heart=1,", "must be like 'lung_left=1,lung_right=2', found ''"),
        ("heart=", "must be like 'lung_left=1,lung_right=2', found 'heart='"),
        ("=1", "must be like 'lung_left=1,lung_right=2', found '=1'"),
        ("heart=one", r"heart must have a whole number, or several joined by '\+', found 'one'"),
        ("heart=1.5", "heart must have a whole number, .* found '1.5'"),
        ("heart=-1", "heart must have a whole number, .* found '-1'"),
        ("heart=1+", r"heart must have a whole number, .* found '1\+'"),
        ("heart=others", "heart must have a whole number, .* found 'others'"),
        ("heart=1=2", "heart must have a whole number, .* found '1=2'"),
        ("heart=1,heart=2", "heart stands there twice"),
        ("heart=1,background=others,background=7", "background stands there twice"),
        ("heart=0", "organ heart: value must be a whole number from 1 to 4294967295, found 0"),
        ("heart=9999999999", "organ heart: value must be a whole number from 1 to 4294967295, found 9999999999"),
        ("heart=99999999999", "organ heart: value must be a whole number from 1 to 4294967295, found 99999999999"),
        ("heart=" + 41 * "9", "heart must have a whole number, .* found '9999"),
        ("a=1,b=1", "value 1 is used by a, b"),
        ("a=1+1", "a: lists value 1 twice"),
        ("<b>=1", "organ name '<b>' must be text of letters"),
        ("ignore=255", "must name at least one organ"),
        ("left=1,lungs=1+2", r"lungs must have values of its own, .* but of 1\+2 it shares 1 with left"),
        ("heart=51+52,lung=1,x=1+51+99", r"x must have .* but of 1\+51\+99 it shares 1\+51 with lung and heart"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(MedganError, match=f"^--labels: {problem}"):
        LabelMap.from_text(text)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(MedganError, match=r"^--labels: 2 problems:\n  - must be like .*\n  - heart must have"):
        LabelMap.from_text("lung,heart=x")


def test_two_names_for_the_same_values_are_refused() -> None:
    with pytest.raises(MedganError, match="value 1 is used by a, b"):
        LabelMap.from_text("a=1+2,b=1+2")


@given(st.text(alphabet="ab=+,12 ignore", max_size=25))
def test_any_text_is_a_map_or_refused_in_words(text: str) -> None:
    try:
        labels = LabelMap.from_text(text)
    except MedganError:
        with pytest.raises(MedganError, match=r"^--labels: "):
            LabelMap.from_text(text)
    else:
        assert LabelMap.from_mapping(labels.to_mapping()) == labels
