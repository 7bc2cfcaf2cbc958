""".seg.nrrd of 3D Slicer: written so that others read it, and read as Slicer writes it."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from phantoms import box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.labels import CodedTerm, LabelMap
from medgan.volume import itk
from medgan.volume.affine import lps_to_ras
from medgan.volume.seg_nrrd import read_seg_nrrd, write_seg_nrrd
from medgan.volume.volume import Volume, same_grid

LEFT_LUNG = CodedTerm("SCT", "44029006", "Left lung")
LABELS = LabelMap.from_mapping(
    {
        "left_lung": {"value": 1, "color": "#ff8000", "code": vars(LEFT_LUNG)},
        "Rückenmark": {"value": 2, "color": "#010203"},
        "heart": {"value": 300, "color": "#ffffff"},
        "spleen": 70000,
    }
)
SLICER = """NRRD0004
# Complete NRRD file format specification at:
# http://teem.sourceforge.net/nrrd/format.html
type: unsigned char
dimension: {dimension}
space: left-posterior-superior
sizes: {sizes}
space directions: {directions}
kinds: {kinds}
encoding: gzip
space origin: (10,-20,30.5)
"""
GRID = {"dimension": 3, "sizes": "4 3 2", "kinds": "domain domain domain", "directions": "(-1,0,0) (0,2,0) (0,0,3)"}
LAYERS = {
    "dimension": 4,
    "sizes": "2 4 3 2",
    "kinds": "list domain domain domain",
    "directions": "none (-1,0,0) (0,2,0) (0,0,3)",
}
ONE = "Segment0_ID:=Segment_1\nSegment0_Name:=Lung: left\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n"


def labelled() -> Volume:
    label = box_volume(affine=oblique_affine(left_handed=True), labels=True)
    return Volume(np.array([0, 1, 2, 300], np.uint16)[label.data], label.affine)


def slicer_file(path, voxels: np.ndarray, keys: str, *, grid=GRID, raw: bytes | None = None):
    """Write a file as Slicer does: voxels with the list axis, if there is one, in front."""
    body = gzip.compress(voxels.tobytes(order="F"), mtime=0) if raw is None else raw
    path.write_bytes((SLICER.format(**grid) + keys + "\n").encode() + body)
    return path


def refused(path, message: str, **options) -> None:
    with pytest.raises(MedganError, match=message) as told:
        read_seg_nrrd(path, **options)
    assert path.name in str(told.value)


def test_slicerio_reads_names_colours_values_and_codes_back(tmp_path):
    slicerio = pytest.importorskip("slicerio")
    label = labelled()
    write_seg_nrrd(label, LABELS, tmp_path / "x.seg.nrrd")
    read = slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))
    found = {organ.name: each for organ, each in zip(LABELS.organs, read["segments"], strict=True)}
    assert [each["name"] for each in read["segments"]] == ["left_lung", "Rckenmark", "heart", "spleen"]  # pynrrd: ASCII
    assert {name: each["labelValue"] for name, each in found.items()} == dict(
        zip(LABELS.names, LABELS.values, strict=True)
    )
    for organ in LABELS.organs:
        np.testing.assert_allclose(found[organ.name]["color"], np.array(organ.color) / 255, atol=1e-5)
    assert found["left_lung"]["terminology"]["type"] == ["SCT", "44029006", "Left lung"]
    assert (found["left_lung"]["extent"], found["spleen"]["extent"]) == ([0, 6, 2, 9, 0, 5], [0, -1, 0, -1, 0, -1])
    assert (read["containedRepresentationNames"], read["masterRepresentation"]) == (
        ["Binary labelmap"],
        "Binary labelmap",
    )
    np.testing.assert_array_equal(read["voxels"], label.data[0])
    np.testing.assert_allclose(lps_to_ras(read["ijkToLPS"]), label.affine, atol=1e-9)


def test_it_is_a_plain_label_for_others(tmp_path):
    write_seg_nrrd(labelled(), LABELS, tmp_path / "x.seg.nrrd")
    read = itk.read(tmp_path / "x.seg.nrrd")
    assert same_grid(read, labelled())
    np.testing.assert_array_equal(read.data, labelled().data)


def test_it_reads_back_with_everything(tmp_path):
    write_seg_nrrd(labelled(), LABELS, tmp_path / "x.seg.nrrd")
    found = read_seg_nrrd(tmp_path / "x.seg.nrrd")
    assert [(each.number, each.name, each.color, each.code) for each in found.segments] == [
        (organ.value, organ.name, organ.color, organ.code) for organ in LABELS.organs
    ]
    for label in (found.to_label(None, where="x"), found.to_label(LABELS, where="x")):
        assert same_grid(label, labelled())
        np.testing.assert_array_equal(label.data, labelled().data)


def test_a_code_cannot_break_the_header(tmp_path):
    code = {"scheme": "SCT", "value": "1", "meaning": "C:\\new\nencoding: raw"}
    labels = LabelMap.from_mapping({"left_lung": {"value": 1, "code": code}})
    write_seg_nrrd(Volume(np.ones((1, 2, 2, 2), np.uint8), np.eye(4)), labels, tmp_path / "x.seg.nrrd")
    assert read_seg_nrrd(tmp_path / "x.seg.nrrd").segments[0].code == labels.organs[0].code


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    label = labelled()
    with pytest.raises(MedganError, match=r"x\.seg\.nrrd: label values \[300\] are not in the label map"):
        write_seg_nrrd(label, LabelMap.from_mapping({"a": 1, "b": 2}), tmp_path / "x.seg.nrrd")
    sheared = label.affine.copy()
    sheared[0, 2] += 0.5
    with pytest.raises(MedganError, match=r"x\.seg\.nrrd cannot hold a sheared affine"):
        write_seg_nrrd(Volume(label.data, sheared), LABELS, tmp_path / "x.seg.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_slicer_with_one_layer_is_read(tmp_path):
    voxels = np.zeros((4, 3, 2), np.uint8)
    voxels[1:3, 0, 1], voxels[0, 2, 0] = 1, 7
    keys = (
        "Segment0_Color:=0.5 1 0\nSegment0_Extent:=1 2 0 0 1 1\nSegment0_ID:=Segment_1\nSegment0_LabelValue:=1\n"
        "Segment0_Layer:=0\nSegment0_Name:=Lung: left\nSegment0_Tags:=Segmentation.Status:inprogress|TerminologyEntry:"
        "General~SCT^123037004^Anatomical Structure~SCT^44029006^Left lung~^^~Anatomic codes~^^~^^|\n"
        "Segment1_ID:=x\nSegment1_LabelValue:=7\nSegment1_Layer:=0\nSegment1_Name:=Rückenmark\n"
        "Segmentation_MasterRepresentation:=Binary labelmap\nSegmentation_ReferenceImageExtentOffset:=5 6 7\n"
    )
    found = read_seg_nrrd(slicer_file(tmp_path / "x.seg.nrrd", voxels, keys))
    first, second = found.segments
    assert (first.number, first.name, first.color) == (1, "Lung: left", (128, 255, 0))
    assert first.code == LEFT_LUNG
    assert (second.number, second.name, second.color, second.code) == (7, "Rückenmark", None, None)
    label = found.to_label(None, where="x")
    np.testing.assert_array_equal(label.data[0], voxels)
    np.testing.assert_allclose(label.affine @ [1, 1, 1, 1], [-9, 18, 33.5, 1])  # LPS (9, -18, 33.5)


def test_layers_hold_segments_that_overlap(tmp_path):
    voxels = np.zeros((2, 4, 3, 2), np.uint8)
    voxels[0, :2, 0, 0], voxels[1, 1:3, 0, 0], voxels[1, 3, 2, 1] = 1, 1, 2
    keys = "".join(
        f"Segment{n}_ID:=s{n}\nSegment{n}_Name:=n{n}\nSegment{n}_LabelValue:={value}\nSegment{n}_Layer:={layer}\n"
        for n, (layer, value) in enumerate([(0, 1), (1, 1), (1, 2)])
    )
    found = read_seg_nrrd(slicer_file(tmp_path / "x.seg.nrrd", voxels, keys, grid=LAYERS))
    assert [(each.number, each.name, each.start, each.mask.shape) for each in found.segments] == [
        (1, "n0", (0, 0, 0), (2, 1, 1)),
        (2, "n1", (1, 0, 0), (2, 1, 1)),
        (3, "n2", (3, 2, 1), (1, 1, 1)),
    ]


def test_files_of_old_versions_have_one_segment_in_each_layer(tmp_path):
    voxels = np.zeros((2, 4, 3, 2), np.uint8)
    voxels[0, 0, 0, 0] = voxels[1, 1, 1, 1] = 1
    found = read_seg_nrrd(slicer_file(tmp_path / "x.seg.nrrd", voxels, "Segment0_ID:=a\nSegment1_ID:=b\n", grid=LAYERS))
    assert [(each.number, each.name, each.start) for each in found.segments] == [
        (1, "a", (0, 0, 0)),
        (2, "b", (1, 1, 1)),
    ]


def test_values_of_no_segment_are_refused(tmp_path):
    voxels = np.full((4, 3, 2), 5, np.uint8)
    refused(slicer_file(tmp_path / "x.seg.nrrd", voxels, ONE), r"values that belong to no segment \(\[5\]\)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("NRRD0004", "DRRN0004"), "is not an NRRD file"),
        (("gzip", "bzip2"), "must be encoded as raw or gzip, found bzip2"),
        (("encoding", "data file: ../../x.raw\nencoding"), "must name one data file in its own folder"),
        (("unsigned char", "float\nendian: little"), "must hold whole numbers, but its data type is float32"),
        (("unsigned char", "short"), "must record its byte order"),
        (("left-posterior-superior", "scanner-xyz"), "space such as left-posterior-superior, found scanner-xyz"),
        (("(0,0,3)", "(0,0)"), "space directions of three finite numbers each"),
        (("(0,0,3)", "none"), "must have three axes in space, .* found 3 axes, 2 of them in space"),
        (("(0,0,3)", "(0,0,inf)"), "space directions of three finite numbers each"),
        (("30.5", "1e30"), "unusable geometry"),
        (("4 3 2", "4 3 -1"), "sizes must give dimension positive numbers"),
        (("4 3 2", "4 1e 2"), "sizes must give dimension positive numbers"),
        (("encoding", "space origin: (0,0,0)\nencoding"), "each recorded once"),
        (("(0,0,3)", "(0,0,0)"), "unusable geometry"),
        (("4 3 2", "40000 30000 2"), "must hold at most .* voxels, but its header claims a size of 40000x30000x2"),
        (("4 3 2", "4 3 3"), "the size in the header calls for 36 bytes, found 24"),
        (
            ("4 3 2", "400 300 200"),
            r"is truncated or its header is damaged: the size in the header calls for 24,000,000",
        ),
        (("Segment0", "Segmentx"), "must describe at least one segment"),
        (("LabelValue:=1", "LabelValue:=x"), "must describe at least one segment"),
        (("Layer:=0", "Layer:=3"), "must describe at least one segment"),
        (
            ("Segment0_ID", "Segmentation_MasterRepresentation:=Closed surface\nSegment0_ID"),
            "must hold a binary label map",
        ),
    ],
)
def test_damaged_and_hostile_files_are_refused_by_name_and_fact(tmp_path, change, message):
    path = slicer_file(tmp_path / "x.seg.nrrd", np.ones((4, 3, 2), np.uint8), ONE)
    path.write_bytes(path.read_bytes().replace(*(part.encode() for part in change)))
    refused(path, message)


def test_a_damaged_stream_fails_its_checksum(tmp_path):
    body = bytearray(gzip.compress(np.ones((4, 3, 2), np.uint8).tobytes()))
    body[-6] ^= 1
    refused(slicer_file(tmp_path / "x.seg.nrrd", np.ones(1), ONE, raw=bytes(body)), "is truncated or corrupt")
    refused(slicer_file(tmp_path / "x.seg.nrrd", np.ones(1), ONE, raw=bytes(body[:-9])), "is truncated")
    (tmp_path / "x.seg.nrrd").write_bytes(SLICER.format(**GRID).encode())
    refused(tmp_path / "x.seg.nrrd", "or its header is truncated")


def test_raw_voxels_and_simpleitks_own_files_are_read(tmp_path):
    image = sitk.GetImageFromArray(np.array([[[0, 300], [1, 0]]], np.uint16))
    for key, value in {"ID": "a", "LabelValue": "300"}.items():
        image.SetMetaData(f"Segment0_{key}", value)
    for key, value in {"ID": "b", "LabelValue": "1"}.items():
        image.SetMetaData(f"Segment1_{key}", value)
    for compressed in (False, True):
        sitk.WriteImage(image, str(tmp_path / "x.seg.nrrd"), useCompression=compressed)
        found = read_seg_nrrd(tmp_path / "x.seg.nrrd")
        assert [(each.number, each.name, each.start) for each in found.segments] == [
            (300, "a", (1, 0, 0)),
            (1, "b", (0, 1, 0)),
        ]
