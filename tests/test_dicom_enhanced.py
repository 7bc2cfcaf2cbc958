"""Enhanced multi-frame objects: geometry and rescale of every frame come from the functional groups."""

import numpy as np
import pytest
from phantoms import assert_same_world, box_volume, oblique_affine, set_pixels, write_enhanced
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedCTImageStorage, generate_uid

from medgan.errors import MedganError
from medgan.volume.dicom.read import read
from medgan.volume.dicom.stack import read_stack
from medgan.volume.volume import Volume

SHAPE = (6, 5, 4)


def item(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def refused(path, match, **options):
    with pytest.raises(MedganError, match=match) as caught:
        read(path, **options)
    assert path.name in str(caught.value)
    assert "DOE" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("order", [None, [3, 2, 1, 0], [2, 0, 3, 1]])
def test_frames_in_any_order_give_the_same_world(tmp_path, left_handed, order):
    volume = box_volume(SHAPE, oblique_affine(left_handed=left_handed))
    path = write_enhanced(tmp_path / "ct.dcm", volume, order=order)
    assert_same_world(volume, read(path))
    assert_same_world(volume, read(tmp_path))


def test_groups_too_long_for_memory_are_read_from_disk(tmp_path):
    volume = box_volume((4, 3, 60))
    path = write_enhanced(tmp_path / "ct.dcm", volume)
    assert_same_world(volume, read(path))
    assert [each.frame for each in read_stack(path).slices] == list(range(60))


def test_every_frame_has_its_own_rescale(tmp_path):
    def doubled(frame, f):
        frame.PixelValueTransformationSequence[0].RescaleSlope = f + 1

    volume = box_volume(SHAPE)
    expected = (volume.data + 1024) * np.arange(1, 5, dtype=np.float32) - 1024
    again = read(write_enhanced(tmp_path / "ct.dcm", volume, edit_frame=doubled))
    assert_same_world(Volume(expected, volume.affine), again)


def test_shared_groups_hold_for_every_frame(tmp_path):
    def moved(frame, f):
        del frame.PixelValueTransformationSequence

    def shared(dataset):
        group = item(RescaleSlope="2", RescaleIntercept="-1024")
        dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [group]

    volume = box_volume(SHAPE)
    again = read(write_enhanced(tmp_path / "ct.dcm", volume, edit=shared, edit_frame=moved))
    assert_same_world(Volume((volume.data + 1024) * 2 - 1024, volume.affine), again)


def test_what_a_converter_left_unassigned_does_not_overrule_the_groups(tmp_path):
    def converted(frame, f):
        left_over = item(RescaleSlope="7", ImagePositionPatient=[0, 0, 0], AcquisitionNumber=f)
        frame.UnassignedPerFrameConvertedAttributesSequence = [left_over]

    def legacy(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = LegacyConvertedEnhancedCTImageStorage

    volume = box_volume(SHAPE)
    assert_same_world(volume, read(write_enhanced(tmp_path / "ct.dcm", volume, edit=legacy, edit_frame=converted)))


def test_an_enhanced_mr_needs_no_rescale_and_a_ct_does(tmp_path):
    def without(frame, f):
        del frame.PixelValueTransformationSequence

    def mr(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        dataset.Modality = "MR"

    volume = box_volume(SHAPE)
    stored = Volume(volume.data + 1024, volume.affine)
    assert_same_world(stored, read(write_enhanced(tmp_path / "mr.dcm", volume, edit=mr, edit_frame=without)))
    path = write_enhanced(tmp_path / "ct" / "ct.dcm", volume, edit_frame=without)
    refused(path, "ct.dcm, frame 1 is a CT slice without RescaleSlope")


def test_one_frame_is_a_volume_of_one_slice(tmp_path):
    volume = read(write_enhanced(tmp_path / "ct.dcm", box_volume((6, 5, 1))))
    assert volume.shape == (6, 5, 1)
    assert volume.spacing_mm == pytest.approx((1.5, 2.0, 3.0))


def test_several_objects_of_one_series_make_one_stack(tmp_path):
    """A concatenation: one series cut into files, as long ones are."""
    volume, uid, place = box_volume((6, 5, 8)), generate_uid(), {}

    def same(dataset):
        dataset.StudyInstanceUID = place.setdefault("study", dataset.StudyInstanceUID)

    for name, order in (("a", [0, 1, 2]), ("b", [3, 4, 5, 6, 7])):
        write_enhanced(tmp_path / f"{name}.dcm", volume, order=order, series=uid, edit=same)
    assert_same_world(volume, read(tmp_path))


def test_a_missing_frame_is_refused(tmp_path):
    refused(
        write_enhanced(tmp_path / "ct.dcm", box_volume((6, 5, 8)), order=[0, 1, 2, 4, 5, 6, 7]),
        "slice missing between 6 and",
    )


def test_time_points_in_one_object_are_refused_with_keys(tmp_path):
    def timed(frame, f):
        frame.FrameContentSequence[0].TemporalPositionIndex = f // 4 + 1
        frame.PixelValueTransformationSequence[0].RescaleIntercept = 1000 * (f // 4)

    path = write_enhanced(tmp_path / "ct.dcm", box_volume(SHAPE), order=[0, 1, 2, 3] * 3, edit_frame=timed)
    message = refused(path, r"holds 3 stacks \(4D")
    uid = read_uid(path)
    assert f"{uid}#2 (CT, 4 slices, 6x5, 1.5x2x3 mm, TemporalPositionIndex 2)" in message
    second = Volume(box_volume(SHAPE).data + 1024 + 1000, box_volume(SHAPE).affine)
    assert_same_world(second, read(path, series=f"{uid}#2"))


def read_uid(path):
    from pydicom import dcmread

    return dcmread(path).SeriesInstanceUID


def test_time_points_that_nothing_tells_apart_are_refused(tmp_path):
    def alike(frame, f):
        del frame.FrameContentSequence

    path = write_enhanced(tmp_path / "ct.dcm", box_volume(SHAPE), order=[0, 1, 2, 3] * 2, edit_frame=alike)
    refused(path, r"holds 2 images at each of 4 positions \(4D")


def test_localizer_frames_are_left_out_and_told(tmp_path):
    def scout(frame, f):
        kind = "LOCALIZER" if f == 0 else "AXIAL"
        frame.CTImageFrameTypeSequence = [item(FrameType=["ORIGINAL", "PRIMARY", kind, "NONE"])]
        if f == 0:
            frame.PlaneOrientationSequence = [item(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])]

    path = write_enhanced(tmp_path / "ct.dcm", box_volume(SHAPE), edit_frame=scout)
    with pytest.warns(UserWarning, match=r"left out of the series: 1 localizer image \(scout\)"):
        assert read(path).shape == (6, 5, 3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda dataset: setattr(dataset, "NumberOfFrames", 2**20), "calls for|describe each"),
        (lambda dataset: delattr(dataset, "PerFrameFunctionalGroupsSequence"), "each of its 4 frames .* found 0"),
        (
            lambda dataset: dataset.PerFrameFunctionalGroupsSequence.pop(),
            "each of its 4 frames .multi-frame. once, found 3",
        ),
        (lambda dataset: delattr(dataset, "SharedFunctionalGroupsSequence"), "no PixelSpacing|without RescaleSlope"),
        (
            lambda dataset: delattr(dataset.PerFrameFunctionalGroupsSequence[2], "PlanePositionSequence"),
            "frame 3 has no ImagePositionPatient",
        ),
        (
            lambda dataset: setattr(
                dataset.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence[0], "RescaleSlope", 0
            ),
            "frame 2 must have a RescaleSlope other than 0",
        ),
        (lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[:-60]), "truncated"),
        (
            lambda dataset: setattr(
                dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0], "ImagePositionPatient", [0, 9, 3]
            ),
            "position of ct.dcm, frame 2 is 9 mm off",
        ),
    ],
)
def test_an_object_that_would_load_wrong_is_refused(tmp_path, spoil, message):
    refused(write_enhanced(tmp_path / "ct.dcm", box_volume(SHAPE), edit=spoil), message)


def test_frames_without_functional_groups_are_refused(tmp_path):
    def classic(dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        dataset.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        dataset.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        dataset.ImagePositionPatient, dataset.RescaleSlope, dataset.RescaleIntercept = [0, 0, 0], 1, -1024
        del dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence

    path = write_enhanced(tmp_path / "ct.dcm", box_volume(SHAPE), edit=classic)
    refused(path, r"has 4 frames \(multi-frame\) but no functional groups")


def test_the_size_limit_holds_for_all_frames(tmp_path):
    path = write_enhanced(tmp_path / "ct.dcm", box_volume(SHAPE))
    refused(path, "at most 119 voxels", max_voxels=119)
    assert read(path, max_voxels=120).shape == SHAPE


def test_pixels_of_other_width_are_read(tmp_path):
    def as_bytes(dataset):
        pixels = np.arange(120, dtype=np.uint8).reshape(4 * 5, 6)
        set_pixels(dataset, pixels)
        dataset.Rows = 5

    again = read(write_enhanced(tmp_path / "ct.dcm", box_volume(SHAPE), edit=as_bytes))
    first = box_volume(SHAPE).affine[:3, 3]
    k = int(np.linalg.norm(again.affine[:3, 3] - first) > 1)  # k runs along the normal, from either end
    assert again.data[0, :, 0, 0].tolist() == [90 * k + n - 1024 for n in range(6)]
