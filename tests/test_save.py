"""A predicted case on disk."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantoms import box_volume, oblique_affine, write_dicom_series

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.outputs import formats, save
from medgan.outputs.formats import SUFFIXES, Format, parse_formats
from medgan.outputs.save import labels_beside, labels_of, prediction_record, write_prediction
from medgan.pipeline import evaluate
from medgan.volume.dicom.stack import Stack, read_stack
from medgan.volume.readers import read_label
from medgan.volume.volume import Volume, same_grid

CODE = {"scheme": "SCT", "value": "80891009", "meaning": "Heart"}
LABELS = LabelMap.from_mapping(
    {"left_lung": 1, "right_lung": 2, "heart": {"value": 300, "color": "#ff8000", "code": CODE}}
)


def label_volume() -> Volume:
    data = np.zeros((1, 4, 5, 6), np.uint16)
    data[0, 0, 0, :4], data[0, 1, 1, :3] = 1, 300
    return Volume(data, np.diag([2.0, 1.0, 3.0, 1.0]))


def test_labels_and_record_lie_side_by_side(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path / "out", "case_07", {"model_sha256": "abc"})
    assert path == tmp_path / "out" / "case_07.nii.gz"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["case_07.json", "case_07.nii.gz"]
    read = read_label(path)
    assert same_grid(read, label_volume())
    assert np.array_equal(read.data, label_volume().data)


def test_record_holds_organs_volumes_and_what_was_given(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path, "case_07", {"model_sha256": "abc", "seconds": 1.5})
    record = json.loads((tmp_path / "case_07.json").read_text())
    assert record["case_id"] == "case_07"
    assert (record["model_sha256"], record["seconds"]) == ("abc", 1.5)
    assert record["labels"]["heart"] == {"value": 300, "color": [255, 128, 0], "code": CODE}
    assert record["volumes_ml"] == {"left_lung": 0.024, "right_lung": 0.0, "heart": 0.018}  # voxels of 0.006 ml
    assert prediction_record(path) == tmp_path / "case_07.json"


def test_nifti_alone_names_its_organs(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path, "case_07", {})
    (extension,) = nib.load(path).header.extensions
    content = extension.get_content()
    organs = json.loads(content if isinstance(content, str) else bytes(content).rstrip(b"\0"))["medgan_labels"]
    assert LabelMap.from_mapping(organs) == LABELS


def test_organs_are_read_back_from_the_record(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path, "case_07", {})
    assert labels_beside(path) == LABELS
    assert labels_beside(tmp_path / "other.nii.gz") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labels": 3}', '{"labels": {"heart": 0}}', "[" * 100_000])
def test_damaged_record_is_told_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "case_07.json").write_text(text)
    with pytest.raises(MedganError, match=r"case_07\.json"):
        labels_beside(tmp_path / "case_07.nii.gz")


@pytest.mark.parametrize("name", ["case_07.nii.gz", "case_07.nii"])
def test_record_is_named_for_the_case(name: str) -> None:
    assert prediction_record(Path("out") / name) == Path("out/case_07.json")


def test_case_id_with_dots_keeps_them(tmp_path: Path) -> None:
    path = write_prediction(label_volume(), LABELS, tmp_path, "1.2.840.7", {})
    assert path.name == "1.2.840.7.nii.gz"
    assert prediction_record(path).name == "1.2.840.7.json"


def test_record_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(volume: Volume, path: Path, **options: object) -> None:
        raise MedganError(f"{path} could not be written: No space left on device.")

    monkeypatch.setattr(formats, "write_volume", refuse)
    with pytest.raises(MedganError, match="No space left"):
        write_prediction(label_volume(), LABELS, tmp_path, "case_07", {})
    assert list(tmp_path.iterdir()) == []


def test_old_record_does_not_outlive_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second prediction that dies after its labels must not stand beside the record of the first."""
    write_prediction(label_volume(), LABELS, tmp_path, "case_07", {"model_sha256": "first"})

    def die(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(save, "write_json", die)
    with pytest.raises(KeyboardInterrupt):
        write_prediction(label_volume(), LABELS, tmp_path, "case_07", {"model_sha256": "second"})
    assert not (tmp_path / "case_07.json").exists()


CT_LABELS = LabelMap.from_mapping({"left_box": 1, "right_box": 2, "top_box": 3, "spleen": 4})
ALL = tuple(SUFFIXES)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("ct")
    return read_stack(write_dicom_series(folder, box_volume((24, 20, 16), oblique_affine()), seed=2))


def boxes_on(stack: Stack) -> Volume:
    return box_volume(stack.shape, stack.affine, labels=True)


def test_every_format_holds_the_labels_of_one_case(tmp_path: Path, stack: Stack) -> None:
    label = boxes_on(stack)
    path = write_prediction(label, CT_LABELS, tmp_path, "a.1", {"seconds": 2}, formats=ALL, source=stack)
    names = {name: f"a.1{suffix}" for name, suffix in SUFFIXES.items()}
    assert path == tmp_path / "a.1.nii.gz"
    assert {p.name for p in tmp_path.iterdir()} == {*names.values(), "a.1.json"}
    record = json.loads((tmp_path / "a.1.json").read_text())
    assert record["files"] == names
    assert record["organs_left_out"] == {"dicom-seg": ["spleen"], "dicom-seg-labelmap": ["spleen"]}
    assert record["volumes_ml"]["spleen"] == 0
    assert record["volumes_ml"]["top_box"] == pytest.approx((label.data == 3).sum() * 1.5 * 2 * 3 / 1000, abs=1e-3)
    for file in names.values():
        read = read_label(tmp_path / file, labels=CT_LABELS, reference=label)
        assert np.array_equal(read.data, label.data), file
        assert labels_beside(tmp_path / file) == CT_LABELS


def test_values_beyond_16_bits_pass_through_every_format_and_evaluation(tmp_path: Path, stack: Stack) -> None:
    ids = [16777216, 16777217, 2**31 - 1]  # an ROI number may be no larger
    labels = LabelMap.from_mapping(dict(zip(("left_box", "right_box", "top_box"), ids, strict=True)))
    boxes = boxes_on(stack)
    label = Volume(np.array([0, *ids], np.uint32)[boxes.data], boxes.affine)
    write_prediction(label, labels, tmp_path / "out", "a", {}, formats=ALL, source=stack)
    write_prediction(label, labels, tmp_path, "a", {}, formats=["mha"])
    for suffix in SUFFIXES.values():
        path = tmp_path / "out" / f"a{suffix}"
        np.testing.assert_array_equal(read_label(path, labels=labels, reference=label).data, label.data)
        evaluate(tmp_path / "a.mha", path, tmp_path / "scores")
        with (tmp_path / "scores" / "scores.csv").open(newline="") as file:
            assert [row["dice"] for row in csv.DictReader(file)] == ["1.0"] * 3


def test_left_out_organs_are_recorded_only_where_there_are_some(tmp_path: Path) -> None:
    write_prediction(label_volume(), LABELS, tmp_path, "case_07", {})
    record = json.loads((tmp_path / "case_07.json").read_text())
    assert (record["files"], "organs_left_out" in record) == ({"nifti": "case_07.nii.gz"}, False)


@pytest.mark.parametrize("name", ["dicom-seg", "dicom-seg-labelmap", "rtstruct"])
def test_dicom_without_a_series_is_refused(tmp_path: Path, name: Format) -> None:
    with pytest.raises(MedganError, match=f"{name} belongs to a DICOM series, and none is given"):
        write_prediction(label_volume(), LABELS, tmp_path, "a", {}, formats=(name,))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mha", "nrrd", "seg.nrrd"])
def test_tilted_gantry_needs_a_format_that_keeps_its_shear(tmp_path: Path, name: Format) -> None:
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    affine[1, 2] = 0.8
    tilted = Volume(label_volume().data, affine)
    write_prediction(tilted, LABELS, tmp_path, "a", {})
    assert same_grid(read_label(tmp_path / "a.nii.gz"), tilted)
    with pytest.raises(MedganError, match=f"{name} cannot hold the sheared grid of a tilted gantry; write nifti"):
        write_prediction(tilted, LABELS, tmp_path, "b", {}, formats=(name,))


@pytest.mark.parametrize("name", ALL)
def test_file_that_reads_back_otherwise_is_removed(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch, name: Format
) -> None:
    """As if a writer dropped one slice: the labels it is given are not those it is compared with."""
    label = boxes_on(stack)
    cut = label.data.copy()
    cut[..., 12:] = 0
    for writer in ("write_volume", "write_seg", "write_seg_nrrd", "write_rtstruct"):
        true_writer = getattr(formats, writer)
        monkeypatch.setattr(
            formats, writer, lambda _, *args, w=true_writer, **options: w(Volume(cut, label.affine), *args, **options)
        )
    with pytest.raises(MedganError, match=r"was removed: read back, (its voxels|the contours of left_box)"):
        write_prediction(label, CT_LABELS, tmp_path, "a", {}, formats=(name,), source=stack)
    assert list(tmp_path.iterdir()) == []


def test_deidentify_reaches_every_dicom_object(tmp_path: Path, stack: Stack) -> None:
    for deidentify in (False, True):
        write_prediction(
            boxes_on(stack), CT_LABELS, tmp_path, "a", {}, formats=ALL, source=stack, deidentify=deidentify
        )
        for file in tmp_path.iterdir():
            is_personal = b"DOE^JANE" in file.read_bytes() or b"MRN-00412345" in file.read_bytes()
            assert is_personal == (file.suffix == ".dcm" and not deidentify), file.name


def test_formats_are_named_once_and_in_one_order() -> None:
    assert parse_formats(["rtstruct", "nifti", "rtstruct"]) == ("nifti", "rtstruct")


@pytest.mark.parametrize(("names", "found"), [(["nifti", "dicom"], "'dicom'"), ([""], "''"), ([], "none")])
def test_unknown_format_is_refused_with_the_known(names: list[str], found: str) -> None:
    with pytest.raises(MedganError, match=f"one or more of nifti, mha, nrrd, .*, rtstruct, found {found}"):
        parse_formats(names)


def test_organs_are_found_in_the_nifti_header_or_the_record(tmp_path: Path) -> None:
    write_prediction(label_volume(), LABELS, tmp_path, "a", {}, formats=("nifti", "mha"))
    assert labels_of(tmp_path / "a.mha") == LABELS
    (tmp_path / "a.json").unlink()
    assert labels_of(tmp_path / "a.nii.gz") == LABELS
    assert labels_of(tmp_path / "a.mha") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"EchoTime": 0.03}', '{"labels": {"x": 1}}', "[" * 100_000])
def test_sidecar_of_another_program_names_no_organs(tmp_path: Path, text: str) -> None:
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text(text)
    assert labels_of(tmp_path / "a.nii.gz") is None


def test_comment_of_another_program_names_no_organs(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"by hand"))
    nib.save(image, tmp_path / "a.nii.gz")
    assert labels_of(tmp_path / "a.nii.gz") is None
