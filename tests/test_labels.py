"""Organs: names, values, colours, coded terms and mirror partners."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from medgan.errors import MedganError
from medgan.labels import CodedTerm, LabelMap

THORAX = {"left_lung": 1, "right_lung": 2, "heart": 3}


def test_simplest_form_gives_names_values_and_classes() -> None:
    labels = LabelMap.from_mapping(THORAX)
    assert labels.names == ("left_lung", "right_lung", "heart")
    assert labels.values == (1, 2, 3)
    assert labels.num_classes == 4
    assert labels.dtype is np.uint8


def test_organs_are_ordered_by_value() -> None:
    assert LabelMap.from_mapping({"heart": 9, "liver": 4}).names == ("liver", "heart")


def test_left_and_right_become_mirror_partners_by_name() -> None:
    labels = LabelMap.from_mapping({"Lung Left": 1, "heart": 2, "Lung Right": 7, "left_kidney": 8})
    assert [organ.mirror for organ in labels.organs] == ["Lung Right", None, "Lung Left", None]
    assert labels.mirrored_classes == (0, 3, 2, 1, 4)


def test_partner_can_be_named() -> None:
    labels = LabelMap.from_mapping(
        {"pulmo_s": {"value": 1, "mirror": "pulmo_d"}, "pulmo_d": {"value": 2, "mirror": "pulmo_s"}}
    )
    assert labels.mirrored_classes == (0, 2, 1)


def test_partner_must_exist_and_name_back() -> None:
    with pytest.raises(MedganError, match="organ a: mirror partner 'b' is not one of the organs"):
        LabelMap.from_mapping({"a": {"value": 1, "mirror": "b"}})
    with pytest.raises(MedganError, match="organ a: its mirror partner b must name it back, but names None"):
        LabelMap.from_mapping({"a": {"value": 1, "mirror": "b"}, "b": 2})
    with pytest.raises(MedganError, match="organ a: mirror partner \\['b'\\] is not one of the organs"):
        LabelMap.from_mapping({"a": {"value": 1, "mirror": ["b"]}, "b": 2})


@pytest.mark.parametrize("value", [0, -1, 2**32, 1.0, "1", True, None, [1]])
def test_value_must_be_a_whole_number_that_a_label_can_hold(value: object) -> None:
    with pytest.raises(MedganError, match="organ heart: value must be a whole number from 1 to 4294967295, found"):
        LabelMap.from_mapping({"heart": value})


@pytest.mark.parametrize("name", [3, "", " heart", "=cmd", "<b>", "a/b", None, True])
def test_name_must_be_plain_text(name: object) -> None:
    with pytest.raises(MedganError, match=r"organ name .* must be text of letters"):
        LabelMap.from_mapping({name: 1})  # type: ignore[dict-item]


def test_value_used_twice_is_refused() -> None:
    with pytest.raises(MedganError, match="value 2 is used by heart, liver"):
        LabelMap.from_mapping({"heart": 2, "liver": 2})


@pytest.mark.parametrize("mapping", [{}, [], None, "heart"])
def test_nothing_to_map_is_refused(mapping: object) -> None:
    with pytest.raises(MedganError, match="must map organ names to values, as in 'heart: 3'; found"):
        LabelMap.from_mapping(mapping)  # type: ignore[arg-type]


def test_all_problems_are_told_at_once() -> None:
    mapping = {"a": 0, "b": {"value": 1, "colour": "red", "color": "red"}, "c": {"value": 2, "code": "x"}, "d": 2}
    with pytest.raises(MedganError) as told:
        LabelMap.from_mapping(mapping, where="labels.yaml")
    message = str(told.value)
    assert message.startswith("labels.yaml: 5 problems:\n")
    for problem in (
        "organ a: value must be",
        "organ b: unknown key 'colour'; known are",
        "organ b: color must be '#rrggbb' or three numbers from 0 to 255, found 'red'",
        "organ c: code must have scheme, value and meaning, found 'x'",
        "value 2 is used by c, d",
    ):
        assert f"  - {problem}" in message


def test_message_does_not_grow_with_what_was_found() -> None:
    with pytest.raises(MedganError) as told:
        LabelMap.from_mapping({"heart": list(range(10000))})
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("color", ["#FF8000", [255, 128, 0], (255, 128, 0)])
def test_color_is_taken_as_hex_or_numbers(color: object) -> None:
    assert LabelMap.from_mapping({"heart": {"value": 1, "color": color}}).organs[0].color == (255, 128, 0)


@pytest.mark.parametrize("color", ["#FF80", [255, 128], [256, 0, 0], [1.0, 0, 0], [True, 0, 0]])
def test_other_colors_are_refused(color: object) -> None:
    with pytest.raises(MedganError, match="color must be"):
        LabelMap.from_mapping({"heart": {"value": 1, "color": color}})


def test_missing_colors_are_those_of_okabe_and_ito() -> None:
    organs = LabelMap.from_mapping({f"organ_{n}": n for n in range(1, 8)}).organs
    assert ["#{:02x}{:02x}{:02x}".format(*organ.color) for organ in organs] == [
        "#56b4e9", "#d55e00", "#009e73", "#f0e442", "#cc79a7", "#e69f00", "#0072b2"
    ]  # fmt: skip


def test_missing_colors_are_all_different() -> None:
    organs = LabelMap.from_mapping({f"organ_{n}": n for n in range(1, 41)}).organs
    assert len({organ.color for organ in organs}) == 40


def test_code_is_kept() -> None:
    code = {"scheme": "SCT", "value": 80891009, "meaning": "Heart"}
    organ = LabelMap.from_mapping({"heart": {"value": 1, "code": code}}).organs[0]
    assert organ.code == CodedTerm("SCT", "80891009", "Heart")


def test_detailed_form_reads_back_unchanged(tmp_path: Path) -> None:
    code = {"scheme": "SCT", "value": "80891009", "meaning": "Heart"}
    heart = {"value": 300, "color": "#00ff00", "code": code, "synonyms": ["cor", "Herz"]}
    labels = LabelMap.from_mapping({**THORAX, "heart": heart})
    assert labels.organs[2].synonyms == ("cor", "Herz")
    assert LabelMap.from_mapping(labels.to_mapping()) == labels
    labels.to_yaml(tmp_path / "labels.yaml")
    assert LabelMap.from_yaml(tmp_path / "labels.yaml") == labels


def test_values_and_classes_translate_both_ways() -> None:
    labels = LabelMap.from_mapping({"heart": 300, "left_lung": 5, "right_lung": 7})
    values = np.array([[0, 5], [300, 7]], np.uint16)
    classes = labels.to_classes(values, where="case_01")
    assert classes.tolist() == [[0, 1], [3, 2]]
    assert labels.to_values(classes).tolist() == values.tolist()
    assert labels.to_values(classes).dtype == np.uint16


def test_large_values_stay_apart_without_a_table_of_their_size() -> None:
    labels = LabelMap.from_mapping({"liver": 16777216, "spleen": 16777217, "kidney": 3, "last": 2**32 - 1})
    values = np.array([0, 16777217, 16777216, 3, 2**32 - 1], np.uint32)
    classes = labels.to_classes(values, where="case_01")
    assert (classes.tolist(), classes.dtype) == ([0, 3, 2, 1, 4], np.uint8)
    assert (labels.to_values(classes).tolist(), labels.to_values(classes).dtype) == (values.tolist(), np.uint32)
    with pytest.raises(MedganError, match=r"label values \[16777218\] are not in the label map"):
        labels.to_classes(np.array([16777218], np.int64), where="case_01")


@pytest.mark.parametrize("values", [{"a": 1, "b": 2}, {"a": 300, "b": 7}, {"a": 2**32 - 1, "b": 7}])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.uint64])
def test_translating_keeps_the_layout_and_takes_no_more_memory_than_its_result(values, dtype) -> None:
    labels = LabelMap.from_mapping(values)
    label = np.zeros((1, 96, 128, 80), dtype, order="F")[:, ::-1].transpose(0, 3, 1, 2)
    label[0, 5:50, 7:90, 11] = 7 if "b" in values and values["b"] == 7 else 2
    tracemalloc.start()
    classes = labels.to_classes(label, where="x")
    back = labels.to_values(classes)
    assert tracemalloc.get_traced_memory()[1] < classes.nbytes + back.nbytes + 3_000_000
    tracemalloc.stop()
    np.testing.assert_array_equal(back, label)
    assert np.argsort(classes.strides[1:]).tolist() == np.argsort(np.abs(label.strides[1:])).tolist()


def test_fractions_are_no_label_values() -> None:
    with pytest.raises(TypeError, match="float64"):
        LabelMap.from_mapping(THORAX).to_classes(np.array([1.5]), where="x")


def test_no_voxels_have_no_classes() -> None:
    labels = LabelMap.from_mapping(THORAX)
    assert labels.to_classes(np.zeros((0, 3), np.uint8), where="x").shape == (0, 3)
    assert labels.to_values(np.zeros((0, 3), np.uint8)).shape == (0, 3)


def test_unknown_value_is_told_with_the_known_ones() -> None:
    with pytest.raises(MedganError, match=r"case_01: label values \[4, 9\] are not in .*0 background, 1 left_lung"):
        LabelMap.from_mapping(THORAX).to_classes(np.array([0, 9, 4, 1], np.uint8), where="case_01")


def test_array_of_background_alone_stays_background() -> None:
    assert not LabelMap.from_mapping(THORAX).to_classes(np.zeros((2, 2), np.uint8), where="x").any()


def test_labels_file_in_its_simplest_form_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text("left_lung: 1\nright_lung: 2  # comment\nheart: {value: 3, color: '#ff0000'}\n")
    labels = LabelMap.from_yaml(path)
    assert labels.values == (1, 2, 3)
    assert labels.organs[2].color == (255, 0, 0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("heart: 1\nheart: 2\n", r":2: key 'heart' stands here twice, first in line 1"),
        ("a: &a [1]\nb: *a\n", "YAML aliases"),
        ("heart: [\n", "is not valid YAML"),
        ("heart: 2024-13-45\n", "is not valid YAML: month must be in 1..12"),
        ("heart: !!python/object/apply:os.getcwd []\n", "is not valid YAML: could not determine a constructor"),
        ("", "must map organ names to values"),
        ("yes: 1\n", "organ name True must be text"),
        ("[" * 600, "is not valid YAML"),
    ],
)
def test_labels_file_with_a_fault_is_refused_by_name(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    with pytest.raises(MedganError, match=rf"^labels file .*labels\.yaml.*{found}"):
        LabelMap.from_yaml(path)


def test_missing_labels_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MedganError, match=r"labels file .*gone\.yaml: could not be read: No such file or directory"):
        LabelMap.from_yaml(tmp_path / "gone.yaml")


SHIPPED = Path(__file__).parents[1] / "data_manifests" / "labels"


@pytest.mark.parametrize(
    "name",
    [
        "left_lung",
        "Lung_L",
        "Lt Lung",
        "LUNG LEFT",
        "lung-l",
        "l_lung",
        "Lung (left)",
        "Lung, sin.",
        "LeftLung",
        "lungs lt",
    ],
)
def test_left_lung_is_found_by_whatever_word_for_left(name: str) -> None:
    labels = LabelMap.from_mapping(THORAX)
    assert labels.find(name) is labels.organs[0]


@pytest.mark.parametrize("name", ["Lung_R", "Rt Lung", "lung.right", "R LUNG", "Lungs dex", "lungDexter"])
def test_right_lung_is_found_by_whatever_word_for_right(name: str) -> None:
    labels = LabelMap.from_mapping(THORAX)
    assert labels.find(name) is labels.organs[1]


@pytest.mark.parametrize(
    "name",
    ["lung", "lungs", "Lung_LR", "Lungs L+R", "left right lung", "llung", "Lung~_L", "PTV Lung L", "left", "hear", ""],
)
def test_a_name_that_may_mean_something_else_is_no_organ(name: str) -> None:
    assert LabelMap.from_mapping(THORAX).find(name) is None


def test_organs_of_both_sides_keep_their_words_in_place() -> None:
    labels = LabelMap.from_mapping({"left atrium right ventricle": 1})
    assert labels.find("LA right ventricle") is None
    assert labels.find("Right Atrium left_ventricle") is None
    assert labels.find("lt. atrium rt. ventricle") is labels.organs[0]


def test_synonyms_are_found_as_names_are() -> None:
    labels = LabelMap.from_yaml(SHIPPED / "thorax.yaml")
    lobes = [f"lung_{lobe}_lobe_{side}" for lobe, side in (("upper", "left"), ("middle", "right"), ("lower", "right"))]
    found = [labels.find(name) for name in (*lobes, "Lung Upper Lobe Lt", "COR", "heart_atrium_left")]
    assert [organ and organ.name for organ in found] == [
        "left_lung", "right_lung", "right_lung", "left_lung", "heart", "heart"
    ]  # fmt: skip


def test_the_own_name_goes_before_a_like_one() -> None:
    labels = LabelMap.from_mapping({"lung": 1, "lungs": 2})
    assert [labels.find(name) for name in ("lung", "lungs")] == [labels.organs[0], labels.organs[1]]
    with pytest.raises(MedganError, match="its name and coded term could mean lung or lungs of the label map"):
        labels.find("LUNG")


def test_synonym_of_two_organs_is_refused() -> None:
    lungs = {
        "left_lung": {"value": 1, "synonyms": ["Pulmo"]},
        "right_lung": {"value": 2, "synonyms": ["pulmo", "Lung_L"]},
    }
    with pytest.raises(MedganError) as told:
        LabelMap.from_mapping(lungs)
    assert "synonym 'pulmo' of right_lung also stands for left_lung" in str(told.value)
    assert "synonym 'Lung_L' of right_lung also stands for left_lung" in str(told.value)


@pytest.mark.parametrize("synonyms", ["cor", [3], [""], [" "], ["x" * 65], ["a\nb"], {"cor": 1}])
def test_synonyms_must_be_a_list_of_names(synonyms: object) -> None:
    with pytest.raises(MedganError, match="organ heart: synonyms must be a list of names of 1 to 64 characters, found"):
        LabelMap.from_mapping({"heart": {"value": 1, "synonyms": synonyms}})


LEFT, RIGHT, KIDNEY = (
    CodedTerm("SCT", value, meaning)
    for value, meaning in (("44029006", "Left lung"), ("3341006", "Right lung"), ("64033007", "Kidney"))
)


def test_a_coded_term_helps_a_name_that_says_nothing() -> None:
    labels = LabelMap.from_yaml(SHIPPED / "thorax.yaml")
    assert labels.find("Segment_1", code=RIGHT) is labels.organs[1]
    assert labels.find("Segment_1", code=KIDNEY) is None
    assert labels.find("Lung_R", code=KIDNEY) is labels.organs[1]


def test_the_old_name_of_snomed_is_known() -> None:
    labels = LabelMap.from_mapping(
        {"liver": {"value": 1, "code": {"scheme": "SCT", "value": "10200004", "meaning": "Liver"}}}
    )
    assert labels.find("x", code=CodedTerm("SRT", "T-62000", "Liver")) is labels.organs[0]
    assert labels.find("x", code=CodedTerm("99MINE", "10200004", "Liver")) is None


def test_name_and_code_of_different_sides_are_refused() -> None:
    labels = LabelMap.from_yaml(SHIPPED / "thorax.yaml")
    with pytest.raises(MedganError, match="could mean left_lung or right_lung of the label map; correct them"):
        labels.find("Lung_L", code=RIGHT)


def test_a_code_without_a_side_is_no_organ_of_one_side() -> None:
    code = {"scheme": KIDNEY.scheme, "value": KIDNEY.value, "meaning": KIDNEY.meaning}
    left_alone = LabelMap.from_mapping({"left_kidney": {"value": 1, "code": code}})
    assert [left_alone.find(name, code=KIDNEY) for name in ("Kidney R", "Segment_1")] == [None, None]
    assert left_alone.find("Kidney, lt (2)", code=KIDNEY) is left_alone.organs[0]
    both = LabelMap.from_mapping(
        {"left_kidney": {"value": 1, "code": code}, "right_kidney": {"value": 2, "code": code}}
    )
    assert both.find("Kidney_R", code=KIDNEY) is both.organs[1]


@pytest.mark.parametrize(("name", "side"), [("left_lung", "left"), ("Lung R", "right"), ("heart", "")])
def test_side_is_that_of_the_name(name: str, side: str) -> None:
    assert LabelMap.from_mapping({name: 1}).organs[0].side == side
