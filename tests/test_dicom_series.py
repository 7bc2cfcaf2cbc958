"""What lies in a tree of DICOM files, and which series of it is meant: never guessed, never a name in a message."""

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from phantoms import assert_same_world, box_volume, change, oblique_affine, set_pixels, write_dicom_series
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)

from medgan.errors import MedganError
from medgan.volume.dicom.read import read
from medgan.volume.dicom.series import choose_series, scan
from medgan.volume.volume import Volume

ONE = {keyword: generate_uid() for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
UID = ONE["SeriesInstanceUID"]


def write_into(folder: Path, volume: Volume | None = None, *, prefix: str = "A", seed: int | None = None, **elements):
    """Write a series whose files begin with `prefix`, so that several fit in one folder."""
    volume = box_volume((6, 5, 4)) if volume is None else volume
    made = write_dicom_series(folder / "making", volume, seed=seed, edit=change(**elements))
    for file in made.iterdir():
        file.rename(folder / f"{prefix}{file.name}")
    made.rmdir()
    return folder


def keys_in(path: Path) -> list[str]:
    with scan(path) as found:
        return [series.key for series in found.series]


def refused(path: Path, match: str, **options) -> str:
    with pytest.raises(MedganError, match=match) as caught:
        read(path, **options)
    message = str(caught.value)
    assert not any(secret in message for secret in ("DOE", "00412345", "Thorax", "SECRET"))
    return message


def test_a_tree_of_many_patients_is_sorted_by_series(tmp_path):
    uids = [generate_uid() for _ in range(3)]
    for n, uid in enumerate(uids):
        write_into(tmp_path / f"p{n // 2}" / f"s{n}", SeriesInstanceUID=uid, PatientID=f"P{n // 2}", seed=n)
    assert keys_in(tmp_path) == uids
    message = refused(tmp_path, "must hold one series, but holds 3")
    assert all(f"{uid} (CT, 4 slices, 6x5, 1.5x2x3 mm)" in message for uid in uids)
    assert read(tmp_path, series=uids[1]).shape == (6, 5, 4)


def test_a_series_is_chosen_by_its_description_which_is_never_shown(tmp_path):
    write_into(tmp_path, SeriesDescription="Thorax SECRET 5.0")
    write_into(tmp_path, box_volume((7, 5, 3)), prefix="B", SeriesDescription="Thorax lung")
    assert read(tmp_path, series="thorax LUNG ").shape == (7, 5, 3)
    refused(tmp_path, "must hold one series")
    refused(tmp_path, "no series with the key, UID or description asked for; it holds", series="abdomen")


def test_the_series_directly_in_the_folder_is_meant(tmp_path):
    write_into(tmp_path)
    write_into(tmp_path / "sub", box_volume((7, 5, 3)))
    assert read(tmp_path).shape == (6, 5, 4)
    write_into(tmp_path, box_volume((8, 5, 3)), prefix="B")
    refused(tmp_path, "holds 3")


def test_a_series_spread_over_sub_folders_is_one(tmp_path):
    write_into(tmp_path / "a", **ONE)
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("AIM0001.dcm", "AIM0003.dcm"):
        (tmp_path / "a" / name).rename(tmp_path / "b" / "c" / name)
    assert_same_world(read(tmp_path), box_volume((6, 5, 4)))


def test_hidden_files_links_and_what_is_not_dicom_are_left_out(tmp_path):
    write_into(tmp_path / "séries [1] 心")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".hidden").mkdir()
    shutil.copy(tmp_path / "séries [1] 心" / "AIM0000.dcm", tmp_path / ".hidden" / "AIM0000.dcm")
    (tmp_path / "notes.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    with scan(tmp_path) as found:
        assert found.left_out == {str(tmp_path / "notes.txt"): "not DICOM"}
    assert read(tmp_path).shape == (6, 5, 4)


def write_object(path: Path, template: Path, *, drop=("PixelData", "Rows"), **elements) -> Path:
    dataset = dcmread(template)
    for keyword in drop:
        delattr(dataset, keyword)
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(path)
    return path


def test_what_is_no_image_is_sorted_out_with_the_reason(tmp_path):
    write_into(tmp_path)
    slice_0 = tmp_path / "AIM0000.dcm"
    report = write_object(tmp_path / "sr.dcm", slice_0, SOPClassUID=BasicTextSRStorage)
    dicomdir = write_object(tmp_path / "DICOMDIR", slice_0, SOPClassUID=MediaStorageDirectoryStorage)
    shot = write_object(
        tmp_path / "shot.dcm", slice_0, drop=("ImagePositionPatient",), SOPClassUID=SecondaryCaptureImageStorage
    )
    plain = write_object(tmp_path / "protocol.dcm", slice_0, drop=("ImagePositionPatient",))
    scout = write_object(tmp_path / "scout.dcm", slice_0, drop=(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    copy = tmp_path / "copy.dcm"
    shutil.copy(slice_0, copy)
    seg = write_object(tmp_path / "seg.dcm", slice_0, drop=(), SOPClassUID=SegmentationStorage)
    rt = write_object(tmp_path / "rt.dcm", slice_0, SOPClassUID=RTStructureSetStorage)
    with scan(tmp_path) as found:
        assert [len(series.files) for series in found.series] == [4]
        assert {file.path for file in found.derived} == {seg, rt}
        assert found.left_out == {
            str(report): "no image (Basic Text SR)",
            str(dicomdir): "DICOMDIR (not followed)",
            str(shot): "secondary capture (screenshot)",
            str(plain): "image without a position in the patient (ImagePositionPatient)",
            str(scout): "localizer image (scout)",
            str(copy): "copy of AIM0000.dcm",
        }
    assert_same_world(read(tmp_path), box_volume((6, 5, 4)))
    refused(seg, "must be a slice of an image series, but is: DICOM SEG")
    refused(scout, "but is: localizer image")


def test_one_damaged_file_concerns_the_series_in_its_folder_only(tmp_path):
    write_into(tmp_path / "good")
    write_into(tmp_path / "bad", box_volume((7, 5, 3)))
    (tmp_path / "bad" / "IM9.dcm").write_bytes(b"")
    with scan(tmp_path) as found:
        good, bad = sorted(found.series, key=lambda series: -len(series.files))
        assert found.left_out == {str(tmp_path / "bad" / "IM9.dcm"): "damaged, or could not be read"}
    assert read(tmp_path, series=good.key).shape == (6, 5, 4)
    refused(tmp_path, r"IM9.dcm is empty \(0 bytes\)", series=bad.key)


def test_a_screenshot_under_the_uid_of_the_series_is_told(tmp_path):
    write_into(tmp_path, **ONE)
    shot = dcmread(tmp_path / "AIM0003.dcm")
    shot.SOPInstanceUID = generate_uid()
    shot.PhotometricInterpretation, shot.SamplesPerPixel = "RGB", 3
    shot.save_as(tmp_path / "shot.dcm")
    with pytest.warns(UserWarning, match=r"left out of the series: 1 colour image \(RGB\)"):
        assert read(tmp_path).shape == (6, 5, 4)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, of the writing
def test_text_that_is_no_uid_or_modality_is_not_shown(tmp_path):
    write_into(tmp_path, SeriesInstanceUID="DOE JANE", Modality="SECRET")
    write_into(tmp_path, prefix="B", SeriesInstanceUID="DOE JOHN", Modality="SECRET")
    with scan(tmp_path) as found:
        key = found.series[0].key
    message = refused(tmp_path, r"holds 2: series-[0-9a-f]{12} \(unknown modality, 4 slices")
    assert key in message


def test_files_without_a_series_uid_belong_together_by_folder(tmp_path):
    write_into(tmp_path / "a", SeriesInstanceUID=None)
    write_into(tmp_path / "b", box_volume((7, 5, 3)), SeriesInstanceUID=None)
    assert read(tmp_path / "a").shape == (6, 5, 4)
    refused(tmp_path, "holds 2")


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, of the writing
@pytest.mark.parametrize("uid", [None, "", "1.2.3x"])
def test_a_slice_without_a_series_uid_beside_a_series_is_damaged(tmp_path, uid):
    write_into(tmp_path, **ONE)
    path = tmp_path / "AIM0003.dcm"
    dataset = dcmread(path)
    change(SeriesInstanceUID=uid)(dataset, 3)
    dataset.save_as(path)
    refused(tmp_path, "AIM0003.dcm is damaged: it has no SeriesInstanceUID, and other images in its folder do")
    refused(path, "AIM0003.dcm is damaged: it has no SeriesInstanceUID")


def test_a_screenshot_without_a_series_uid_beside_a_series_is_told(tmp_path):
    write_into(tmp_path, box_volume((6, 5, 5)), **ONE)
    path = tmp_path / "AIM0004.dcm"
    dataset = dcmread(path)
    dataset.SeriesInstanceUID, dataset.PhotometricInterpretation = "", "MONOCHROME9"
    dataset.save_as(path)
    with pytest.warns(
        UserWarning, match=r"left out of the series: 1 colour image \(photometric interpretation unclear"
    ):
        assert read(tmp_path).shape == (6, 5, 4)


def test_a_file_named_like_the_slices_that_is_not_dicom_is_told(tmp_path):
    write_into(tmp_path, box_volume((6, 5, 5)), **ONE)
    for path in tmp_path.iterdir():
        path.rename(path.with_suffix(""))
    (tmp_path / "README").write_text("not like a slice")
    assert read(tmp_path).shape == (6, 5, 5)
    (tmp_path / "AIM0004").write_bytes(bytes(500))
    with pytest.warns(UserWarning, match="1 file that is named like its slices, but is not DICOM"):
        assert read(tmp_path).shape == (6, 5, 4)


def test_damage_to_what_tells_stacks_apart_concerns_its_own_series_only(tmp_path):
    write_into(tmp_path / "good", SeriesInstanceUID=UID)
    for n, prefix in enumerate("AB"):
        write_into(tmp_path / "bad", prefix=prefix, **{**ONE, "SeriesInstanceUID": "1.2.3"}, EchoTime=n + 1)
    path = tmp_path / "bad" / "AIM0000.dcm"
    path.write_bytes(path.read_bytes().replace(b"\x18\x00\x81\x00DS", b"\x18\x00\x81\x00FD"))
    assert read(tmp_path, series=UID).shape == (6, 5, 4)
    refused(tmp_path / "bad", "2 images at each of 4 positions")


def test_a_made_up_key_stays_the_same_wherever_the_files_lie(tmp_path):
    write_into(tmp_path / "a" / "b", SeriesInstanceUID=None)
    keys = keys_in(tmp_path)
    assert keys[0].startswith("series-")
    (tmp_path / "a").rename(tmp_path / "moved")
    assert keys_in(tmp_path / "moved" / "b") == keys


def test_an_even_series_of_several_acquisitions_stays_one(tmp_path):
    write_into(tmp_path, AcquisitionNumber=lambda dataset, k: k // 2 + 1)
    assert keys_in(tmp_path) == [dcmread(tmp_path / "AIM0000.dcm").SeriesInstanceUID]
    assert_same_world(read(tmp_path), box_volume((6, 5, 4)))


def other(volume: Volume, hu: float) -> Volume:
    return Volume(volume.data + np.float32(hu), volume.affine)


@pytest.mark.parametrize(
    ("keyword", "values", "said"),
    [
        ("AcquisitionNumber", (7, 8), ("AcquisitionNumber 7", "AcquisitionNumber 8")),
        ("TemporalPositionIdentifier", (10, 9), ("TemporalPositionIdentifier 9", "TemporalPositionIdentifier 10")),
        ("EchoTime", ("2.38", "4.76"), ("EchoTime 2.38", "EchoTime 4.76")),
        ("DiffusionBValue", (0.0, 800.0), ("DiffusionBValue 0", "DiffusionBValue 800")),
        ("ImageType", (["DERIVED", "SECRET"], ["ORIGINAL", "W"]), ("by ImageType", "by ImageType")),
    ],
)
def test_4d_is_refused_with_keys_and_read_by_key(tmp_path, keyword, values, said):
    volume = box_volume((6, 5, 4), oblique_affine())
    later = other(volume, 100.0)
    write_into(tmp_path, volume, **ONE, **{keyword: values[0]}, seed=1)
    write_into(tmp_path, later, prefix="B", **ONE, **{keyword: values[1]}, seed=2)
    message = refused(tmp_path, "with one image at each position, but series .* holds 2 stacks")
    assert f"{UID}#1 (CT, 4 slices, 6x5, 1.5x2x3 mm, {said[0]})" in message
    assert f"{UID}#2 (CT, 4 slices, 6x5, 1.5x2x3 mm, {said[1]})" in message
    refused(tmp_path / "AIM0000.dcm", "holds 2 stacks")
    refused(tmp_path, "holds 2 stacks", series=UID)
    first, second = (later, volume) if values[0] == 10 else (volume, later)
    assert_same_world(read(tmp_path, series=f"{UID}#1"), first)
    assert_same_world(read(tmp_path, series=f"{UID}#2"), second)


def test_cine_phases_whose_trigger_times_drift_are_told_apart_by_order(tmp_path):
    volumes = [other(box_volume((6, 5, 4)), 100.0 * phase) for phase in range(3)]
    for phase, volume in enumerate(volumes):
        time = lambda dataset, k, phase=phase: f"{40 * phase + k}"  # noqa: E731
        write_into(tmp_path, volume, prefix="CAB"[phase], **ONE, TriggerTime=time)
    message = refused(tmp_path, "holds 3 stacks")
    assert f"{UID}#3 (CT, 4 slices, 6x5, 1.5x2x3 mm, time point 3 by TriggerTime)" in message
    for phase, volume in enumerate(volumes, start=1):
        assert_same_world(read(tmp_path, series=f"{UID}#{phase}"), volume)


def test_echoes_and_times_are_told_apart_together(tmp_path):
    for n, (echo, moment) in enumerate([(1, 1), (1, 2), (2, 1), (2, 2)]):
        volume = other(box_volume((6, 5, 4)), 10.0 * n)
        write_into(tmp_path, volume, prefix=f"{n}", **ONE, EchoNumbers=echo, TemporalPositionIdentifier=moment)
    message = refused(tmp_path, "holds 4 stacks")
    assert "#2 (CT, 4 slices, 6x5, 1.5x2x3 mm, TemporalPositionIdentifier 1, EchoNumbers 2)" in message
    assert_same_world(read(tmp_path, series=f"{UID}#2"), other(box_volume((6, 5, 4)), 20.0))


def test_4d_that_nothing_tells_apart_is_refused(tmp_path):
    for prefix in "ABC":
        write_into(tmp_path, other(box_volume((6, 5, 4)), ord(prefix)), prefix=prefix, **ONE)
    refused(tmp_path, r"holds 3 images at each of 4 positions \(4D.*nothing in their headers tells the stacks apart")


def test_planes_of_different_orientation_are_different_stacks(tmp_path):
    sagittal = np.eye(4)[:, [1, 2, 0, 3]] @ np.diag([1.5, 2.0, 3.0, 1.0])
    write_into(tmp_path, **ONE)
    write_into(tmp_path, box_volume((7, 5, 3), sagittal), prefix="B", **ONE)
    message = refused(tmp_path, "several orientations")
    assert (
        f"{UID}#1 (CT, 4 slices, 6x5, 1.5x2x3 mm, axial), {UID}#2 (CT, 3 slices, 7x5, 1.5x2x3 mm, sagittal)" in message
    )
    assert_same_world(read(tmp_path, series=f"{UID}#2"), box_volume((7, 5, 3), sagittal))


def test_frames_of_reference_are_different_stacks(tmp_path):
    write_into(tmp_path, **ONE)
    write_into(tmp_path, prefix="B", **{**ONE, "FrameOfReferenceUID": generate_uid()})
    assert "frame of reference 2)" in refused(tmp_path, "frames of reference")
    assert read(tmp_path, series=f"{UID}#1").shape == (6, 5, 4)


def test_two_patients_under_one_series_uid_are_refused(tmp_path):
    write_into(tmp_path, **ONE, AcquisitionNumber=1)
    write_into(tmp_path, prefix="B", **ONE, PatientID="MRN-9", AcquisitionNumber=2)
    refused(tmp_path, "mixes slices of more than one patient")


def test_a_data_set_without_preamble_or_suffix_is_found_in_a_tree(tmp_path):
    folder = write_dicom_series(tmp_path / "a" / "b", box_volume(), transfer_syntax=ImplicitVRLittleEndian)
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        file.write_bytes(data[144 + int.from_bytes(data[140:144], "little") :])
        file.rename(file.with_suffix(""))
    assert_same_world(read(tmp_path), box_volume())


def test_a_header_scan_holds_no_pixels(tmp_path):
    def large(dataset, k):
        set_pixels(dataset, np.zeros((512, 512), np.int16))

    write_dicom_series(tmp_path, box_volume((6, 5, 4)), edit=large)
    with scan(tmp_path) as found:
        held = [file.header.get_item("PixelData", keep_deferred=True).value for file in found.series[0].files]
        assert held == [None] * 4


def with_element(path: Path, tag: bytes, kind: bytes, length: int, value: bytes) -> None:
    """Put an element, explicit VR little endian with a long length, before the rows of a file."""
    data = path.read_bytes()
    at = data.index(b"\x28\x00\x02\x00US")
    path.write_bytes(data[:at] + tag + kind + b"\0\0" + struct.pack("<I", length) + value + data[at:])


EMPTY_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def test_a_header_of_a_million_empty_items_is_refused_at_once(tmp_path, parsed_items):
    write_into(tmp_path)
    with_element(tmp_path / "AIM0000.dcm", b"\x08\0\x40\x11", b"SQ", 0xFFFFFFFF, EMPTY_ITEM * 1_000_000 + SEQUENCE_END)
    refused(tmp_path, "AIM0000.dcm is (damaged|a damaged DICOM file)")
    assert len(parsed_items) <= 75_000  # where the header reader stops


@pytest.mark.parametrize(
    ("tag", "kind", "value", "keyword"),
    [
        (b"\x20\0\x32\0", b"UN", b"0" * (2 << 20), "ImagePositionPatient"),
        (b"\x00\x52\x30\x92", b"SQ", EMPTY_ITEM * 200_000, "PerFrameFunctionalGroupsSequence"),
    ],
)
def test_a_value_of_megabytes_is_not_decoded(tmp_path, tag, kind, value, keyword, parsed_items):
    write_into(tmp_path, ImagePositionPatient=None)
    with_element(tmp_path / "AIM0000.dcm", tag, kind, len(value), value)
    refused(tmp_path / "AIM0000.dcm", f"{keyword} (is too large, 2,097,152 bytes|has 200,000 sequence items)")
    assert len(parsed_items) <= 75_000  # where the header reader stops


def test_choosing_needs_only_a_scan(tmp_path):
    write_into(tmp_path)
    with scan(tmp_path) as found:
        chosen = choose_series(found, where="here", series=None)
        assert chosen.key == chosen.uid
        assert (chosen.modality, len(chosen.slices), chosen.frame_of_reference_uid != "") == ("CT", 4, True)


def test_a_path_that_is_not_there_says_so(tmp_path):
    with pytest.raises(MedganError, match="does not exist"), scan(tmp_path / "nowhere"):
        pass


def test_an_empty_data_set_is_not_taken_for_an_image(tmp_path):
    write_into(tmp_path)
    Dataset().save_as(tmp_path / "empty", implicit_vr=True, little_endian=True)
    assert read(tmp_path).shape == (6, 5, 4)


@pytest.mark.parametrize("shift_mm", [60.0, 10.5])
def test_acquisitions_apart_or_overlapping_are_different_stacks(tmp_path, shift_mm):
    """Chest and abdomen under one UID: together they are no even stack, each by itself is."""
    volume = box_volume((6, 5, 8))
    below = volume.affine.copy()
    below[2, 3] += shift_mm
    write_into(tmp_path, volume, **ONE, AcquisitionNumber=1)
    write_into(tmp_path, Volume(volume.data, below), prefix="B", **ONE, AcquisitionNumber=2)
    message = refused(tmp_path, "holds 2 stacks")
    assert "AcquisitionNumber 1" in message
    assert_same_world(read(tmp_path, series=f"{UID}#2"), Volume(volume.data, below))


def test_a_gap_within_an_acquisition_is_a_missing_slice(tmp_path):
    write_into(tmp_path, box_volume((6, 5, 8)), **ONE, AcquisitionNumber=lambda dataset, k: k // 4 + 1)
    (tmp_path / "AIM0002.dcm").unlink()
    refused(tmp_path, "slice missing between 3 and 9 mm")
