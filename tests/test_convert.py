"""Anything readable becomes anything writable: values, geometry and names kept, the patient not."""

import json
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from conformance import errors_of, needs_dciodvfy
from phantoms import SHARED, box_volume, oblique_affine, write_dicom_series
from pydicom import dcmread
from pydicom.dataset import Dataset

from medgan.errors import MedganError
from medgan.labels import CodedTerm, LabelMap
from medgan.outputs.convert import convert, organs_of
from medgan.preprocessing.shear import is_sheared
from medgan.volume.affine import lps_to_ras
from medgan.volume.readers import read_label, read_segments, read_volume
from medgan.volume.segments import Segment, Segments
from medgan.volume.volume import Volume, same_grid
from medgan.volume.writers import write_volume

CT = SHARED / "data" / "thorax_ct_dicom_rtstruct"
LUNG = {"scheme": "SCT", "value": "44029006", "meaning": "Left lung"}
LABELS = LabelMap.from_mapping({"left lung": {"value": 1, "color": "#ff8000", "code": LUNG}, "heart": 2, "aorta": 3})
LABEL_TARGETS = (".nii.gz", ".nii", ".seg.nrrd", ".seg.dcm", ".labelmap.dcm", ".rtstruct.dcm")
PERSONAL = (b"DOE", b"JANE", b"MRN-00412345", b"19480229", b"St. Elsewhere", b"HUESCA")


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def name_everybody(dataset: Dataset, k: int) -> None:
        dataset.PatientBirthDate, dataset.InstitutionName = "19480229", "St. Elsewhere"
        dataset.SeriesDescription, dataset.ReferringPhysicianName = "thin, for Dr HUESCA", "HUESCA^R"

    folder = tmp_path_factory.mktemp("series") / "ct"
    return write_dicom_series(folder, box_volume((24, 20, 16), oblique_affine()), seed=2, edit=name_everybody)


@pytest.fixture
def named(tmp_path: Path, ct: Path) -> Path:
    """Labels on the grid of the series, with names, as NIfTI."""
    image = read_volume(ct)
    write_volume(box_volume(image.shape, image.affine, labels=True), tmp_path / "plain.nii.gz")
    convert(tmp_path / "plain.nii.gz", tmp_path / "named.nii.gz", labels=LABELS)
    return tmp_path / "named.nii.gz"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_series_keeps_hu_and_grid_in_16_bits(tmp_path: Path, ct: Path, suffix: str) -> None:
    done = convert(ct, tmp_path / f"a{suffix}")
    original, written = read_volume(ct), read_volume(done.path)
    assert np.array_equal(written.data, original.data)
    assert same_grid(written, original, tolerance_mm=1e-3)
    assert done.organs is None
    assert "24x20x16 voxels of (1.5, 2, 3) mm" in done.grid
    stored = (
        nib.load(done.path).get_data_dtype() if ".nii" in suffix else sitk.ReadImage(done.path).GetPixelIDTypeAsString()
    )
    assert stored in (np.int16, "16-bit signed integer")


def test_written_mha_lies_where_simpleitk_puts_it(tmp_path: Path, ct: Path) -> None:
    convert(ct, tmp_path / "a.mha")
    image, original = sitk.ReadImage(tmp_path / "a.mha"), read_volume(ct)
    for index in ((0, 0, 0), (23, 4, 15), (7, 19, 2)):
        point = lps_to_ras(np.array([*image.TransformIndexToPhysicalPoint(index), 1.0]))
        assert point == pytest.approx(original.affine @ [*index, 1], abs=1e-3)
        assert image[index] == original.data[0][index]


def test_values_that_are_not_whole_stay_floating_point(tmp_path: Path) -> None:
    def halve(dataset: Dataset, k: int) -> None:
        dataset.RescaleSlope = "0.5"

    series = write_dicom_series(tmp_path / "ct", box_volume(), edit=halve)
    convert(series, tmp_path / "a.nii.gz")
    assert nib.load(tmp_path / "a.nii.gz").get_data_dtype() == np.float32
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").data, read_volume(series).data)


def test_whole_values_beyond_16_bits_are_kept(tmp_path: Path) -> None:
    def enlarge(dataset: Dataset, k: int) -> None:
        dataset.RescaleSlope = "100"

    series = write_dicom_series(tmp_path / "ct", box_volume(), edit=enlarge)
    convert(series, tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").data, read_volume(series).data)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_image_of_another_format_keeps_its_type(tmp_path: Path, dtype: type) -> None:
    write_volume(Volume(box_volume(labels=True).data.astype(dtype), np.eye(4)), tmp_path / "a.nii.gz")
    convert(tmp_path / "a.nii.gz", tmp_path / "b.mha")
    assert sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "b.mha")).dtype == dtype


@pytest.mark.parametrize(("first", "second"), [*pairwise(LABEL_TARGETS), *pairwise(reversed(LABEL_TARGETS))])
def test_labels_go_from_any_format_into_any_other(
    tmp_path: Path, ct: Path, named: Path, first: str, second: str
) -> None:
    convert(named, tmp_path / f"a{first}", reference=ct)
    done = convert(tmp_path / f"a{first}", tmp_path / f"b{second}", reference=ct)
    original = read_label(named)
    read = read_label(done.path, labels=LABELS, reference=original)
    assert np.array_equal(read.data, original.data)
    assert same_grid(read, original)
    assert done.organs is not None
    assert done.organs.names == LABELS.names
    if ".nii" not in second:
        assert read_segments(done.path, reference=original).names == LABELS.names


@pytest.mark.parametrize("through", [".seg.dcm", ".seg.nrrd", ".rtstruct.dcm"])
def test_nifti_header_keeps_names_codes_and_colours(tmp_path: Path, ct: Path, named: Path, through: str) -> None:
    convert(named, tmp_path / f"a{through}", reference=ct)
    convert(tmp_path / f"a{through}", tmp_path / "b.nii.gz", reference=ct)
    (extension,) = nib.load(tmp_path / "b.nii.gz").header.extensions
    content = extension.get_content()
    text = content if isinstance(content, str) else bytes(content).rstrip(b"\0").decode()
    organs = LabelMap.from_mapping(json.loads(text)["medgan_labels"])
    assert organs.names == LABELS.names
    assert organs.organs[0].code == CodedTerm("SCT", "44029006", "Left lung")
    assert organs.organs[0].color == pytest.approx((255, 128, 0), abs=2)  # a SEG has CIELab


def test_labels_file_chooses_organs_and_values(tmp_path: Path, ct: Path, named: Path) -> None:
    convert(named, tmp_path / "a.seg.nrrd")
    (tmp_path / "labels.yaml").write_text("heart: 7\nLung_L: 9\n")
    with pytest.warns(UserWarning, match=r"a\.seg\.nrrd: aorta left out: the labels file has no such organ"):
        convert(tmp_path / "a.seg.nrrd", tmp_path / "b.nii.gz", labels=tmp_path / "labels.yaml")
    original, written = read_label(named).data, read_label(tmp_path / "b.nii.gz").data
    assert np.array_equal(written == 7, original == 2)
    assert np.array_equal(written == 9, original == 1)
    assert np.unique(written).tolist() == [0, 7, 9]


def test_folder_of_masks_becomes_one_file(tmp_path: Path, named: Path) -> None:
    label = read_label(named)
    for name, value in (("heart", 2), ("aorta", 3)):
        write_volume(
            Volume((label.data == value).astype(np.uint8), label.affine), tmp_path / "masks" / f"{name}.nii.gz"
        )
    done = convert(tmp_path / "masks", tmp_path / "all.seg.nrrd")
    assert done.organs is not None
    assert done.organs.names == ("aorta", "heart")
    assert np.array_equal(read_label(done.path).data == 1, label.data == 3)


def test_unnamed_labels_are_named_by_their_values(tmp_path: Path, ct: Path) -> None:
    image = read_volume(ct)
    write_volume(box_volume(image.shape, image.affine, labels=True), tmp_path / "plain.nii.gz")
    done = convert(tmp_path / "plain.nii.gz", tmp_path / "a.seg.dcm", reference=ct)
    assert [segment.SegmentLabel for segment in dcmread(done.path).SegmentSequence] == ["label_1", "label_2", "label_3"]
    assert {segment.SegmentAlgorithmType for segment in dcmread(done.path).SegmentSequence} == {"SEMIAUTOMATIC"}


def test_labels_in_another_order_of_axes_find_their_series(tmp_path: Path, ct: Path, named: Path) -> None:
    label = read_label(named)
    turned = np.array(label.affine)
    turned[:3, 3] += turned[:3, 0] * (label.shape[0] - 1)
    turned[:3, 0] *= -1
    write_volume(Volume(label.data[:, ::-1], turned), tmp_path / "turned.nii.gz")
    convert(tmp_path / "turned.nii.gz", tmp_path / "a.seg.dcm", reference=ct, labels=LABELS)
    read = read_label(tmp_path / "a.seg.dcm", labels=LABELS, reference=label)
    assert np.array_equal(read.data, label.data)


def test_no_patient_reaches_another_format(tmp_path: Path, ct: Path, named: Path, capsys) -> None:
    convert(named, tmp_path / "a.seg.dcm", reference=ct)
    convert(named, tmp_path / "a.rtstruct.dcm", reference=ct)
    for source in (ct, tmp_path / "a.seg.dcm", tmp_path / "a.rtstruct.dcm"):
        for suffix in (".nii", ".mha", ".nrrd"):
            done = convert(source, tmp_path / f"out{suffix}", reference=None if source is ct else ct)
            assert not [text for text in PERSONAL if text in done.path.read_bytes() or text.decode() in repr(done)]
    assert capsys.readouterr() == ("", "")


@needs_dciodvfy
@pytest.mark.parametrize("suffix", [".seg.dcm", ".labelmap.dcm", ".rtstruct.dcm"])
def test_dicom_target_holds_the_patient_unless_told_not_to(tmp_path: Path, ct: Path, named: Path, suffix: str) -> None:
    kept = convert(named, tmp_path / f"a{suffix}", reference=ct).path
    assert dcmread(kept).PatientID == "MRN-00412345"
    blank = convert(named, tmp_path / f"b{suffix}", reference=ct, deidentify=True).path
    assert not [text for text in PERSONAL if text in blank.read_bytes()]
    if suffix != ".labelmap.dcm":  # which dciodvfy does not know yet
        assert errors_of(kept) == errors_of(blank) == []


@pytest.mark.skipif(not CT.is_dir(), reason=f"{CT} is absent")
def test_real_rtstruct_becomes_a_seg(tmp_path: Path) -> None:
    (series,), (rtstruct,) = CT.glob("*/*/*29543"), CT.glob("*/*/*47.35/*.dcm")
    done = convert(rtstruct, tmp_path / "a.seg.dcm", reference=series)
    counts = [segment.num_voxels for segment in read_segments(done.path).segments]
    assert counts == pytest.approx([23_611, 2_239, 170, 3_448], rel=0.01)


def test_names_are_made_fit_for_organs() -> None:
    mask = np.ones((1, 1, 1), bool)
    names = ["Lt Lung", "GTV (old)", "GTV (old)", "\x1b[31m", "x" * 80, "心臓"]
    segments = tuple(Segment(number, name, (0, 0, 0), mask) for number, name in enumerate(names, start=1))
    organs = organs_of(Segments(segments, (1, 1, 1), np.eye(4)), where="a.dcm")
    assert organs.names == ("Lt Lung", "GTV _old_", "GTV _old__3", "_31m", "x" * 64, "心臓")
    assert organs.values == (1, 2, 3, 4, 5, 6)


def refused(message: str, *arguments: Path, **options: object) -> None:
    with pytest.raises(MedganError, match=message):
        convert(*arguments, **options)  # type: ignore[arg-type]


def test_image_cannot_become_labels(tmp_path: Path, ct: Path) -> None:
    convert(ct, tmp_path / "ct.nii.gz")
    write_volume(Volume(np.arange(1000, dtype=np.uint16).reshape(1, 10, 10, 10), np.eye(4)), tmp_path / "mr.nii.gz")
    for suffix in (".seg.nrrd", ".seg.dcm", ".rtstruct.dcm"):
        refused("ct is an image, and a DICOM series at that", ct, tmp_path / f"a{suffix}", reference=ct)
        refused("must hold no negative label values", tmp_path / "ct.nii.gz", tmp_path / f"a{suffix}", reference=ct)
        refused("looks like an image, with 999", tmp_path / "mr.nii.gz", tmp_path / f"a{suffix}", reference=ct)
    assert not list(tmp_path.glob("a.*"))


def test_what_cannot_be_converted_is_told(tmp_path: Path, ct: Path, named: Path) -> None:
    refused(r"must end in one of \.nii\.gz", named, tmp_path / "a.dcm")
    refused("absent does not exist", tmp_path / "absent", tmp_path / "a.nii")
    refused("must not be the source itself", named, named)
    refused("give that as the reference", named, tmp_path / "a.seg.dcm")
    refused(
        "is derived from a DICOM series, but the image is plain",
        named,
        tmp_path / "a.seg.dcm",
        reference=named.with_name("plain.nii.gz"),
    )
    refused("a reference only says where labels lie", ct, tmp_path / "a.nii", reference=named)
    write_volume(Volume(np.zeros((1, 2, 2, 2), np.uint8), np.eye(4)), tmp_path / "empty.nii")
    refused("holds no label but 0", tmp_path / "empty.nii", tmp_path / "a.seg.nrrd")
    write_volume(box_volume(labels=True), tmp_path / "elsewhere.nii")
    refused("must lie on the grid of", tmp_path / "elsewhere.nii", tmp_path / "a.seg.dcm", reference=ct)
    refused(
        r"label values \[2, 3\] are not in the label map",
        named,
        tmp_path / "a.nii",
        labels=LabelMap.from_mapping({"a": 1}),
    )


def test_tilted_gantry_goes_where_its_shear_is_kept(tmp_path: Path) -> None:
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    affine[1, 2] = 0.8
    series = write_dicom_series(tmp_path / "ct", box_volume(affine=affine))
    with pytest.warns(UserWarning, match="gantry tilt"):
        convert(series, tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").affine == pytest.approx(affine, abs=1e-4)
    with pytest.warns(UserWarning, match="gantry tilt") as said:
        convert(series, tmp_path / "a.mha")
    assert "which mha cannot hold: resampled to a straight one" in str(said[-1].message)
    straight = read_volume(tmp_path / "a.mha")
    assert not is_sheared(straight.affine)
    np.testing.assert_allclose(straight.affine[:3, :2], affine[:3, :2], atol=1e-4)  # the slices stay the slices
