"""DICOM SEG: the same masks at the same places, whatever the kind, the order of the frames and the compression."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from phantoms import SHARED, box_volume, oblique_affine
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from segmentations import DEFLATED_FRAMES, write_seg

from medgan.errors import MedganError
from medgan.labels import CodedTerm
from medgan.volume import itk
from medgan.volume.dicom.seg import read_seg
from medgan.volume.segments import Segments
from medgan.volume.volume import Volume, same_grid

REAL = SHARED / "data" / "ct_dicom_seg"


def box_label(shape=(12, 10, 8), *, left_handed=False):
    """Return box_volume's labels; their planes 1 and 4 are emptied, so that those frames are left out."""
    label = box_volume(shape, oblique_affine(left_handed=left_handed), labels=True)
    label.data[:, :, :, [1, 4]] = 0
    return label


def with_axes(label: Volume, order, flips) -> Volume:
    """Return the same voxels on a grid whose axis n is axis order[n] of the label's, reversed where flips[n]."""
    index = np.eye(4)
    index[:3, :3] = np.eye(3)[:, list(order)] * [-1 if flip else 1 for flip in flips]
    index[:3, 3] = sum((label.shape[a] - 1) * np.eye(3)[a] for a, flip in zip(order, flips, strict=True) if flip)
    turned = label.data[0].transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return Volume(turned[None], label.affine @ index)


def assert_same(found: Segments, label: Volume) -> None:
    read = found.to_label(None, where="seg")
    assert same_grid(read, label, tolerance_mm=1e-4)
    np.testing.assert_array_equal(read.data, label.data)


def refused(path: Path, message: str, **options) -> None:
    with pytest.raises(MedganError, match=message) as told:
        read_seg(path, **options)
    assert path.name in str(told.value)
    assert "DOE" not in str(told.value)


@pytest.mark.parametrize(
    ("kind", "bits", "syntax"),
    [
        ("BINARY", 1, ExplicitVRLittleEndian),
        ("BINARY", 1, ImplicitVRLittleEndian),
        ("BINARY", 1, DeflatedExplicitVRLittleEndian),
        ("BINARY", 1, DEFLATED_FRAMES),
        ("BINARY", 8, RLELossless),
        ("FRACTIONAL", 8, ExplicitVRLittleEndian),
        ("FRACTIONAL", 8, JPEGLSLossless),
        ("LABELMAP", 8, ExplicitVRLittleEndian),
        ("LABELMAP", 16, ExplicitVRLittleEndian),
        ("LABELMAP", 8, JPEGLSLossless),
        ("LABELMAP", 16, RLELossless),
        ("LABELMAP", 8, DEFLATED_FRAMES),
    ],
)
@pytest.mark.parametrize("shape", [(12, 10, 8), (7, 5, 9)])  # frames of 35 bits do not end with a byte
def test_every_kind_gives_the_same_label(tmp_path, kind, bits, syntax, shape):
    label = box_label(shape)
    path = write_seg(tmp_path / "seg.dcm", label, kind=kind, bits=bits, syntax=syntax)
    assert_same(read_seg(path), Volume(label.data, label.affine))


def test_names_codes_and_colours_are_kept(tmp_path):
    def colour(dataset: Dataset) -> None:
        dataset.SegmentSequence[1].RecommendedDisplayCIELabValue = [41661, 41167, 40792]  # what dcmqi calls its liver

    segments = read_seg(write_seg(tmp_path / "seg.dcm", box_label(), edit=colour)).segments
    assert [(each.number, each.name) for each in segments] == [(1, "Lung_L"), (2, "Lung_R"), (3, "Heart")]
    assert segments[0].code == CodedTerm("SCT", "44029006", "Left lung")
    assert [each.color for each in segments] == [None, (221, 130, 101), None]
    assert segments[0].mask.shape == (7, 8, 6)  # a box about what it marks


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_frames_may_come_in_any_order(tmp_path, seed):
    label = box_label()

    def shuffled(frames: list) -> list:
        return [frames[n] for n in np.random.default_rng(seed).permutation(len(frames))]

    assert_same(read_seg(write_seg(tmp_path / "seg.dcm", label, order=shuffled)), label)


@pytest.mark.parametrize(("fraction", "is_marked"), [(124, False), (125, True), (250, True)])
def test_half_of_the_largest_fraction_marks(tmp_path, fraction, is_marked):
    path = write_seg(tmp_path / "seg.dcm", box_label(), kind="FRACTIONAL", fraction=fraction)
    assert [each.num_voxels > 0 for each in read_seg(path).segments] == [is_marked] * 3


def test_overlapping_segments_keep_all_their_voxels(tmp_path):
    label = box_label()

    def doubled(frames: list) -> list:
        return [*frames, *[(3, k, stored) for number, k, stored in frames if number == 1 and k in (0, 2)]]

    segments = read_seg(write_seg(tmp_path / "seg.dcm", label, order=doubled)).segments
    both = label.data[0][:, :, [0, 2]] == 1
    assert segments[0].num_voxels == np.count_nonzero(label.data == 1)
    assert segments[2].num_voxels == np.count_nonzero(label.data == 3) + np.count_nonzero(both)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (False, True, True)])
def test_it_is_laid_on_the_grid_of_its_image_whatever_its_axes(tmp_path, order, flips):
    whole = box_label()
    larger = np.pad(whole.data, ((0, 0), (0, 0), (0, 0), (2, 3)))
    affine = whole.affine.copy()
    affine[:3, 3] -= 2 * affine[:3, 2]
    reference = with_axes(Volume(larger, affine), order, flips)
    path = write_seg(tmp_path / "seg.dcm", whole)
    assert_same(read_seg(path, reference=reference), reference)


def test_frames_far_apart_lie_on_the_slices_of_the_image(tmp_path):
    label = box_label()
    label.data[:, :, :, [0, 2, 3, 5]] = 0  # planes 6 and 7 are left, of which 6 alone has all three boxes
    label.data[:, :, :, 7] = 0
    label.data[0, 3, 3, 0] = 1
    path = write_seg(tmp_path / "seg.dcm", label)
    assert_same(read_seg(path, reference=label), label)
    assert read_seg(path).shape == (12, 10, 7)  # by SpacingBetweenSlices; without it, one step of six slices

    def drop(dataset: Dataset) -> None:
        del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices

    sparse = read_seg(write_seg(tmp_path / "seg.dcm", label, edit=drop))
    assert sparse.shape == (12, 10, 2)
    assert np.linalg.norm(sparse.affine[:3, 2]) == pytest.approx(18)


def test_the_common_step_is_found_where_no_two_frames_are_neighbours(tmp_path):
    label = box_label((12, 10, 11))
    label.data[:] = 0
    label.data[0, 3, 3, [0, 4, 10]] = 1

    def drop(dataset: Dataset) -> None:
        del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices

    found = read_seg(write_seg(tmp_path / "seg.dcm", label, edit=drop))
    assert np.linalg.norm(found.affine[:3, 2]) == pytest.approx(6)
    assert np.flatnonzero(found.to_label(None, where="").data.any(axis=(0, 1, 2))).tolist() == [0, 2, 5]


def test_one_plane_takes_its_thickness_from_the_header(tmp_path):
    label = box_volume((12, 10, 1), oblique_affine(), labels=True)
    path = write_seg(tmp_path / "seg.dcm", label)
    assert_same(read_seg(path), label)

    def drop(dataset: Dataset) -> None:
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        del measures.SpacingBetweenSlices

    refused(write_seg(path, label, edit=drop), "has one plane and no SpacingBetweenSlices")


def test_an_image_on_other_voxels_is_refused(tmp_path):
    label = box_label()
    path = write_seg(tmp_path / "seg.dcm", label)
    shifted, turned, cropped = (label.affine.copy() for _ in range(3))
    shifted[:3, 3] += 0.5
    turned[:3, :3] = np.diag([4.0, 5.0, 6.0])
    cropped[:3, 3] = (label.affine @ [0, 0, 1, 1])[:3]
    message = r"must lie on the voxels of the image, but its frames of 12x10 pixels of \(1.5, 2\) mm"
    refused(path, rf"{message} are up to 0.866 mm off", reference=Volume(label.data, shifted))
    refused(path, rf"{message} have other axes or another spacing", reference=Volume(label.data, turned))
    refused(path, "segment 1 marks voxels outside its 12x10x8", reference=Volume(label.data, cropped))


def positions_of(dataset: Dataset) -> list[Dataset]:
    return [frame.PlanePositionSequence[0] for frame in dataset.PerFrameFunctionalGroupsSequence]


def uneven(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    for position in positions_of(dataset)[2:]:
        position.ImagePositionPatient = [float(x) + 0.9 for x in position.ImagePositionPatient]


def sideways(dataset: Dataset) -> None:
    position = positions_of(dataset)[2]
    position.ImagePositionPatient[0] = float(position.ImagePositionPatient[0]) + 1


def twice(dataset: Dataset) -> None:
    positions = positions_of(dataset)
    positions[1].ImagePositionPatient = positions[0].ImagePositionPatient


def turned_frame(dataset: Dataset) -> None:
    item = Dataset()
    item.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
    dataset.PerFrameFunctionalGroupsSequence[2].PlaneOrientationSequence = [item]


def narrow(dataset: Dataset) -> None:
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = ["1e-30", "1"]


def no_sequence(dataset: Dataset) -> None:
    dataset[0x00620002] = DataElement(0x00620002, "UT", "DOE^JANE")


def without_orientation(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


def unnumbered(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9


def twice_described(dataset: Dataset) -> None:
    dataset.SegmentSequence[1].SegmentNumber = 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (uneven, r"must have its planes at multiples of one step, found distances of 0.97973 to 6 mm"),
        (sideways, r"must have its frames in one line, but one lies"),
        (twice, r"must hold one frame of a segment at one position, but frame 1 has 1 more at its own"),
        (turned_frame, r"must have one ImageOrientationPatient for all its frames, found .* in frame 1 .* in frame 3"),
        (without_orientation, r"has no PlaneOrientationSequence"),
        (unnumbered, r"marks segments that it does not describe \(9\)"),
        (twice_described, r"each segment must have a SegmentNumber of its own"),
        (lambda d: delattr(d, "SegmentSequence"), r"must describe at least one segment"),
        (lambda d: setattr(d, "SegmentSequence", []), r"must describe at least one segment"),
        (lambda d: setattr(d, "NumberOfFrames", 2**31 - 1), r"must describe each of its 2147483647 frames, found 1"),
        (lambda d: setattr(d, "SegmentationType", "DOE"), r"must be a whole SEG of type BINARY, FRACTIONAL, LABELMAP"),
        (lambda d: setattr(d, "ConcatenationUID", "1.2"), r"but is one part of a concatenation"),
        (lambda d: setattr(d, "PixelData", d.PixelData[:60]), r"is truncated or its header is damaged: \d+ frames"),
        (lambda d: delattr(d, "PixelData"), r"has no pixel data"),
        (lambda d: setattr(d, "BitsAllocated", 32), r"must have 1, 8 or 16 bits a pixel"),
        (lambda d: setattr(d, "Rows", 65535), r"is truncated or its header is damaged: .* 12x65535 pixels"),
        (lambda d: setattr(d, "Rows", 0), r"its frames have no size"),
        (lambda d: setattr(d, "Rows", 5), r"header is damaged: \d+ frames of 12x5 pixels call for \d+ bytes, found"),
        (narrow, r"has an unusable geometry: the axes of an affine must span space"),
        (
            lambda d: setattr(positions_of(d)[0], "ImagePositionPatient", [1e30, 0, 0]),
            r"must lie in a scanner, .*1e\+30",
        ),
        (lambda d: setattr(d, "SegmentSequence", None), r"must describe at least one segment"),
        (no_sequence, r"is damaged: its SegmentSequence is no sequence"),
    ],
)
def test_damaged_and_hostile_objects_are_refused_by_name_and_fact(tmp_path, edit, message):
    refused(write_seg(tmp_path / "seg.dcm", box_label(), edit=edit), message)


def test_values_that_mean_nothing_are_refused(tmp_path):
    def marked(value: int):
        return lambda frames: [(number, k, np.where(stored, value, 0)) for number, k, stored in frames]

    path = write_seg(tmp_path / "seg.dcm", box_label(), bits=8, order=marked(3))
    refused(path, "a BINARY segmentation must hold 0 and 1, found 3")
    path = write_seg(tmp_path / "seg.dcm", box_label(), kind="LABELMAP", order=marked(7))
    refused(path, r"marks segments that it does not describe \(7\)")
    path = write_seg(
        tmp_path / "seg.dcm", box_label(), kind="FRACTIONAL", edit=lambda d: delattr(d, "MaximumFractionalValue")
    )
    refused(path, "has no MaximumFractionalValue above 0")


def test_the_background_of_a_label_map_is_no_segment(tmp_path):
    label = box_label()

    def described(dataset: Dataset) -> None:
        background = Dataset()
        background.SegmentNumber, background.SegmentLabel = 255, "Background"
        dataset.SegmentSequence.append(background)
        dataset.PixelPaddingValue = 255

    def padded(frames: list) -> list:
        return [(number, k, np.where(stored, stored, 255)) for number, k, stored in frames]

    path = write_seg(tmp_path / "seg.dcm", label, kind="LABELMAP", order=padded, edit=described)
    assert_same(read_seg(path), label)


def test_what_is_no_seg_is_told(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"x" * 400)
    refused(tmp_path / "x.dcm", "x.dcm is not DICOM")
    path = write_seg(tmp_path / "seg.dcm", box_label(), edit=lambda d: setattr(d, "SOPClassUID", "1.2.3"))
    refused(path, r"is not a DICOM SEG \(segmentation\) object")
    path = write_seg(tmp_path / "big.dcm", box_label(), edit=lambda d: None)
    path.write_bytes(path.read_bytes().replace(ExplicitVRLittleEndian.encode(), ExplicitVRBigEndian.encode()))
    with pytest.raises(MedganError, match=r"big\.dcm"):
        read_seg(path)


def test_a_damaged_transfer_syntax_is_neither_shown_nor_warned_of(tmp_path):
    path = write_seg(tmp_path / "seg.dcm", box_label())
    path.write_bytes(path.read_bytes().replace(ExplicitVRLittleEndian.encode(), b"1.2.840.10008.DOE^J"))
    refused(path, r"seg\.dcm has an unsupported transfer syntax, an unknown one; decompress it")


def test_deflated_frames_of_another_size_are_refused(tmp_path):
    path = write_seg(tmp_path / "seg.dcm", box_label(), syntax=DEFLATED_FRAMES, edit=lambda d: setattr(d, "Columns", 5))
    refused(path, "its pixel data .* are truncated or cannot be decoded")


def test_positions_a_light_year_apart_cost_no_memory(tmp_path):
    def far(dataset: Dataset) -> None:
        positions_of(dataset)[0].ImagePositionPatient = ["-1e9", "0", "0"]

    path = write_seg(tmp_path / "seg.dcm", box_label(), edit=far)
    tracemalloc.start()
    with pytest.raises(MedganError, match=r"seg\.dcm must"):
        read_seg(path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_masks_that_span_more_than_allowed_are_refused(tmp_path):
    def far_corners(frames: list) -> list:
        corner = np.zeros((12, 10), int)
        corner[0, 0] = corner[-1, -1] = 1
        return [(number, k, corner) for number in (1, 2, 3) for k in (0, 7)]

    path = write_seg(tmp_path / "seg.dcm", box_label(), order=far_corners)
    assert [each.mask.size for each in read_seg(path, max_voxels=2880).segments] == [960] * 3
    refused(path, "must mark at most 2,000 voxels with what lies between them, but 3 segments", max_voxels=2000)
    refused(path, "must hold at most 900 voxels, but its header claims a size of 12x10x8", max_voxels=900)


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared real segmentations are not there")
def test_real_objects_agree_voxel_for_voxel_with_the_masks_beside_them():
    found = read_seg(REAL / "liver.dcm")
    assert (found.names, found.segments[0].code) == (("Liver",), CodedTerm("SRT", "T-62000", "Liver"))
    assert_same(found, itk.read(REAL / "liver_seg.nrrd"))
    overlapping = read_seg(REAL / "partial_overlaps.dcm")
    assert overlapping.names == ("GREEN", "ORANGE", "PURPLE", "LIGHT_BLUE", "DARK_BLUE")
    assert overlapping.segments[0].color == (128, 174, 128)
    for file, numbers in {1: (1, 4, 5), 2: (2,), 3: (3,)}.items():
        beside = itk.read(REAL / f"partial_overlaps-{file}.nrrd")
        only = Segments(tuple(overlapping.segments[n - 1] for n in numbers), overlapping.shape, overlapping.affine)
        assert_same(only, beside)
