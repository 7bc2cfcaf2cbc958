"""Cohorts from the layouts people keep their data in, by file names alone."""

import csv
import json
import shutil
import stat
from pathlib import Path

import pytest
from phantoms import box_volume

import medgan.pipeline
from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.manifest.importers import Imported, import_cohort, write_cohort
from medgan.manifest.importers.patterns import compile_pattern
from medgan.manifest.read import read_manifest
from medgan.volume.writers import write_volume


def make_files(folder: Path, *names: str, content: str = "voxels") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def make_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def rows_of(imported: Imported) -> dict[str, tuple[tuple[str, ...], str, str | None]]:
    """Return images, label and split of each case by the name the layout gives it."""
    return {
        key.name: (key.images, key.label, case.split) for key, case in zip(imported.keys, imported.cases, strict=True)
    }


def skipped_in(imported: Imported) -> dict[str, str]:
    return {each.source: each.reason for each in imported.skipped}


def msd_folder(folder: Path) -> Path:
    names = [f"liver_{n}.nii.gz" for n in range(12)]
    make_files(folder, *[f"{part}/{name}" for name in names for part in ("imagesTr", "labelsTr")])
    make_files(folder, "imagesTs/liver_90.nii.gz", "imagesTr/._liver_0.nii.gz")
    document = {
        "labels": {"0": "background", "1": "liver", "2": "cancer (any)"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": ["./imagesTs/liver_90.nii.gz"],
    }
    make_json(folder / "dataset.json", document)
    return folder


def nnunet_folder(folder: Path, **changes: object) -> Path:
    for name in ("a", "b", "c"):
        make_files(folder, f"imagesTr/{name}_0000.nii.gz", f"imagesTr/{name}_0001.nii.gz", f"labelsTr/{name}.nii.gz")
    make_files(folder, "imagesTs/t_0000.nii.gz", "imagesTs/t_0001.nii.gz")
    document = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "kidney": 1, "cyst": 2},
        "file_ending": ".nii.gz",
        "numTraining": 3,
    }
    make_json(folder / "dataset.json", document | changes)
    return folder


# --- what every layout has in common


def test_ids_and_patients_are_made_up_and_the_order_tells_nothing(tmp_path: Path) -> None:
    names = ["adams", "baker", "clark", "davis", "evans", "frank", "ghosh", "hills"]
    make_files(tmp_path, *[f"{name}/ct.nii.gz" for name in names])
    imported = import_cohort(tmp_path, images=["*/ct.nii.gz"])
    assert [case.case_id for case in imported.cases] == [f"case_{n:04d}" for n in range(1, 9)]
    assert [case.patient for case in imported.cases] == [f"patient_{n:04d}" for n in range(1, 9)]
    in_order = [key.patient_in_source for key in imported.keys]
    assert sorted(in_order) == names
    assert in_order not in (names, names[::-1])
    assert import_cohort(tmp_path, images=["*/ct.nii.gz"]) == imported
    other = import_cohort(tmp_path, images=["*/ct.nii.gz"], seed=1)
    assert [key.patient_in_source for key in other.keys] != in_order


def test_layout_without_splits_is_split_by_patient(tmp_path: Path) -> None:
    make_files(tmp_path, *[f"p{n}/{visit}_{what}.nii" for n in range(20) for visit in "ab" for what in ("ct", "seg")])
    imported = import_cohort(
        tmp_path, images=["*/*_ct.nii"], labels="*/*_seg.nii", val_fraction=0.25, test_fraction=0.2
    )
    by_split = {
        split: {case.patient for case in imported.cases if case.split == split} for split in ("train", "val", "test")
    }
    assert {split: len(patients) for split, patients in by_split.items()} == {"train": 12, "val": 4, "test": 4}
    assert len(imported.cases) == 40
    assert all(case.label and case.label.name[0] == case.images[0].name[0] for case in imported.cases)


def test_unlabelled_case_is_test_but_never_beside_its_patients_training_cases(tmp_path: Path) -> None:
    make_files(tmp_path, "p1/a_ct.nii", "p1/a_seg.nii", "p1/b_ct.nii", "p2/c_ct.nii")
    imported = import_cohort(tmp_path, images=["*/*_ct.nii"], labels="*/*_seg.nii")
    splits = {name: split for name, (_, _, split) in rows_of(imported).items()}
    assert splits == {"p1_a": "train", "p1_b": None, "p2_c": "test"}
    written = write_cohort(imported, tmp_path / "cohort.csv")
    assert {case.case_id: case.split for case in read_manifest(written.manifest)} == {
        case.case_id: case.split for case in imported.cases
    }


def test_ids_are_kept_only_if_asked_and_made_safe(tmp_path: Path) -> None:
    make_files(tmp_path, "=1+1.nii", "ab#c.nii", "ab$c.nii", "ä.nii", "-.nii")
    imported = import_cohort(tmp_path, images=["*.nii"], keep_ids=True)
    assert [case.case_id for case in imported.cases] == ["_", "_1+1", "ab_c", "ab_c_2", "ä"]
    assert {case.patient for case in imported.cases} == {f"patient_000{n}" for n in range(1, 6)}


def test_what_cannot_stand_in_a_manifest_is_skipped(tmp_path: Path) -> None:
    make_files(tmp_path / "outside", "secret.nii")
    make_files(tmp_path / "data", "good.nii", "bad\nname.nii")
    (tmp_path / "data" / "link.nii").symlink_to(tmp_path / "outside" / "secret.nii")
    (tmp_path / "data" / "zero.nii").touch()
    imported = import_cohort(tmp_path / "data", images=["*.nii"])
    assert list(rows_of(imported)) == ["good"]
    assert skipped_in(imported) == {
        "bad?name.nii": "its name has characters that a table cannot hold; rename it",
        "link.nii": "link.nii leads out of the source; move the file into it",
        "zero.nii": "zero.nii is empty (0 bytes)",
    }


@pytest.mark.parametrize("name", ["folder", "missing"])
def test_source_with_nothing_usable_is_refused(tmp_path: Path, name: str) -> None:
    make_files(tmp_path / "folder", "notes.txt")
    with pytest.raises(
        MedganError, match=r"holds no image \(looked at as kind 'dicom'\).*--kind|no such file or folder"
    ):
        import_cohort(tmp_path / name)


def test_contradicting_arguments_are_refused(tmp_path: Path) -> None:
    msd_folder(tmp_path)
    with pytest.raises(MedganError, match=r"kind must be one of dicom, msd, .* found 'decathlon'"):
        import_cohort(tmp_path, kind="decathlon")
    with pytest.raises(MedganError, match="the test fraction must be at least 0 and below 1, found 20"):
        import_cohort(tmp_path, test_fraction=20)
    with pytest.raises(MedganError, match="kind 'msd' knows its labels without a pattern"):
        import_cohort(tmp_path, labels="*.nii")
    with pytest.raises(MedganError, match="kind 'msd' knows its images without a pattern"):
        import_cohort(tmp_path, kind="msd", images=["*.nii"])
    with pytest.raises(MedganError, match=r"must be a folder, or a \.zip of DICOM"):
        import_cohort(tmp_path / "imagesTs" / "liver_90.nii.gz")


# --- writing


def test_written_manifest_is_read_and_checked_as_it_is(tmp_path: Path) -> None:
    for name in "abc":
        write_volume(box_volume(), tmp_path / name / "ct.nii.gz")
        write_volume(box_volume(labels=True), tmp_path / name / "seg.nii.gz")
    written = medgan.pipeline.manifest(
        tmp_path, tmp_path / "cohort.csv", images=["*/ct.nii.gz"], labels="*/seg.nii.gz", seed=2
    )
    assert written.root is None
    assert read_manifest(written.manifest) == list(written.imported.cases)
    assert medgan.pipeline.check(written.manifest).failed == {}


def test_manifest_outside_the_data_says_which_root_it_needs(tmp_path: Path) -> None:
    make_files(tmp_path / "my data", "a.nii")
    written = write_cohort(import_cohort(tmp_path / "my data", images=["*.nii"]), tmp_path / "lists" / "m.csv")
    assert written.root == tmp_path / "my data"
    assert f"medgan check {tmp_path}/lists/m.csv --root '{tmp_path}/my data'" in written.lines()[-1]
    (case,) = read_manifest(written.manifest, root=written.root)
    assert case.images[0].resolve() == tmp_path / "my data" / "a.nii"


def test_key_table_is_private_and_the_manifest_holds_no_source_name(tmp_path: Path) -> None:
    msd_folder(tmp_path)
    written = write_cohort(import_cohort(tmp_path), tmp_path / "cohort.csv")
    assert stat.S_IMODE(written.key.stat().st_mode) == 0o600
    keys = {row["name"]: row for row in csv.DictReader(written.key.read_text().splitlines())}
    cases = {row["case_id"]: row for row in csv.DictReader(written.manifest.read_text().splitlines())}
    for name, row in keys.items():
        case = cases[row["case_id"]]
        assert case["image"] == row["image"]
        assert Path(case["image"]).name == f"{name}.nii.gz"
        assert name not in (case["case_id"], case["patient"])


def test_no_cell_is_a_spreadsheet_formula(tmp_path: Path) -> None:
    make_files(tmp_path, "=1+1/ct.nii", "@x/ct.nii", "-x/ct.nii", "+x/ct.nii", "-y/seg.nii", "=1+1/seg.nii")
    imported = import_cohort(tmp_path, images=["*/ct.nii"], labels="*/seg.nii")
    written = write_cohort(imported, tmp_path / "cohort.csv")
    for path in (written.manifest, written.key, written.skipped):
        cells = [cell for row in csv.reader(path.read_text().splitlines()) for cell in row]
        assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []
    assert {case.images[0] for case in read_manifest(written.manifest)} == {case.images[0] for case in imported.cases}
    assert skipped_in(imported) == {"-y/seg.nii": "a label without an image"}


def test_existing_files_are_kept_unless_forced(tmp_path: Path) -> None:
    msd_folder(tmp_path)
    (tmp_path / "cohort.csv").write_text("mine")
    imported = import_cohort(tmp_path)
    with pytest.raises(MedganError, match=r"cohort\.csv exists; use --force"):
        write_cohort(imported, tmp_path / "cohort.csv")
    assert (tmp_path / "cohort.csv").read_text() == "mine"
    write_cohort(imported, tmp_path / "cohort.csv", force=True)
    assert len(read_manifest(tmp_path / "cohort.csv")) == 13
    (tmp_path / "labels.yaml").write_text("spleen: 1\n")
    with pytest.raises(MedganError, match=r"labels\.yaml exists and names other organs"):
        write_cohort(imported, tmp_path / "other.csv")
    with pytest.raises(MedganError, match=r"a manifest is written as \.csv"):
        write_cohort(imported, tmp_path / "cohort.json")


def test_console_lines_group_what_was_skipped(tmp_path: Path) -> None:
    make_files(tmp_path, "a_ct.nii", *[f"{n}_seg.nii" for n in "bcdef"])
    make_files(tmp_path, "a_seg.nii")
    written = write_cohort(import_cohort(tmp_path, images=["*_ct.nii"], labels="*_seg.nii"), tmp_path / "m.csv")
    assert "cases        1 of 1 patients: 1 train; 1 with a label" in written.lines()
    assert "  b_seg.nii, c_seg.nii, d_seg.nii ...: a label without an image" in written.lines()


# --- MSD


def test_msd_folder_keeps_its_splits_and_names_its_organs(tmp_path: Path) -> None:
    imported = import_cohort(msd_folder(tmp_path))
    assert imported.kind == "msd"
    rows = rows_of(imported)
    assert rows["liver_90"] == (("imagesTs/liver_90.nii.gz",), "", "test")
    assert rows["liver_3"][:2] == (("imagesTr/liver_3.nii.gz",), "labelsTr/liver_3.nii.gz")
    splits = [split for _, _, split in rows.values()]
    assert [splits.count(split) for split in ("train", "val", "test")] == [11, 1, 1]
    written = write_cohort(imported, tmp_path / "cohort.csv")
    assert written.labels
    organs = LabelMap.from_yaml(written.labels)
    assert [(organ.name, organ.value) for organ in organs.organs] == [("liver", 1), ("cancer _any_", 2)]


def test_msd_training_case_without_label_or_file_is_skipped(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii", "a_seg.nii", "b.nii")
    training = [{"image": "a.nii", "label": "a_seg.nii"}, {"image": "b.nii"}, {"image": "c.nii", "label": "a_seg.nii"}]
    make_json(tmp_path / "dataset.json", {"training": [*training, {"image": "../x.nii", "label": "a_seg.nii"}]})
    imported = import_cohort(tmp_path)
    assert list(rows_of(imported)) == ["a"]
    assert imported.labels is None
    assert skipped_in(imported) == {
        "b.nii": "a train case without a label",
        "c.nii": "c.nii does not exist",
        "../x.nii": "../x.nii leads out of the source; move the file into it",
    }


# --- nnU-Net


def test_nnunet_folder_joins_channels_and_labels(tmp_path: Path) -> None:
    make_json(tmp_path / "splits_final.json", [{"train": ["a", "c"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}])
    imported = import_cohort(nnunet_folder(tmp_path))
    assert imported.kind == "nnunet"
    assert rows_of(imported) == {
        "a": (("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"), "labelsTr/a.nii.gz", "train"),
        "b": (("imagesTr/b_0000.nii.gz", "imagesTr/b_0001.nii.gz"), "labelsTr/b.nii.gz", "val"),
        "c": (("imagesTr/c_0000.nii.gz", "imagesTr/c_0001.nii.gz"), "labelsTr/c.nii.gz", "train"),
        "t": (("imagesTs/t_0000.nii.gz", "imagesTs/t_0001.nii.gz"), "", "test"),
    }
    assert imported.labels is not None
    assert imported.labels.names == ("kidney", "cyst")


def test_nnunet_test_labels_and_incomplete_cases(tmp_path: Path) -> None:
    nnunet_folder(tmp_path)
    make_files(tmp_path, "labelsTs/t.nii.gz", "labelsTr/gone.nii.gz", "imagesTr/notes.txt", "imagesTr/d_0000.nii.gz")
    (tmp_path / "imagesTr" / "b_0001.nii.gz").unlink()
    (tmp_path / "labelsTr" / "c.nii.gz").unlink()
    imported = import_cohort(tmp_path)
    assert rows_of(imported)["t"][1:] == ("labelsTs/t.nii.gz", "test")
    assert skipped_in(imported) == {
        "imagesTr/b": "must have 2 channels from _0000 on, found [0]",
        "imagesTr/c": "a train case without a label in labelsTr",
        "imagesTr/d": "must have 2 channels from _0000 on, found [0]",
        "imagesTr/notes.txt": "its name must end in _0000.nii.gz",
        "labelsTr/gone.nii.gz": "a label without an image",
    }


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "whole tumor": [1, 2.5]}, "organ label_2.5: value must be a whole number"),
        ({"background": 0, "liver": 1, "ignore": 1}, "value 1 is used by liver, ignore"),
        ({"background": 0, "liver": 1, "spleen": 1}, "value 1 is used by liver, spleen"),
        ({"background": 0, "liver": "1"}, "value must be a whole number"),
    ],
)
def test_nnunet_labels_that_are_no_organs_are_refused(tmp_path: Path, labels: object, message: str) -> None:
    with pytest.raises(MedganError, match=message) as caught:
        import_cohort(nnunet_folder(tmp_path, labels=labels))
    assert str(tmp_path / "dataset.json") in str(caught.value)


def test_nnunet_regions_are_groups_and_its_ignore_label_is_kept(tmp_path: Path) -> None:
    regions = {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": [3], "ignore": 4}
    labels = import_cohort(nnunet_folder(tmp_path, labels=regions)).labels
    assert labels is not None
    assert dict(zip(labels.names, labels.values, strict=True)) == {"label_1": 1, "label_2": 2, "enhancing": 3}
    assert {group.name: group.organs for group in labels.groups} == {
        "whole tumor": ("label_1", "label_2", "enhancing"),
        "core": ("label_2", "enhancing"),
    }
    assert labels.ignored == (4,)


def test_folder_above_a_dataset_names_the_dataset(tmp_path: Path) -> None:
    nnunet_folder(tmp_path / "Dataset042_Liver")
    (tmp_path / "notes").mkdir()
    message = r"is no dataset itself, but holds .*Dataset042_Liver \(kind 'nnunet'\)\. Name the one you want"
    with pytest.raises(MedganError, match=message):
        import_cohort(tmp_path)


def test_nnunet_v1_is_read_too(tmp_path: Path) -> None:
    nnunet_folder(tmp_path)
    document = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "kidney"}, "training": []}
    make_json(tmp_path / "dataset.json", document)
    imported = import_cohort(tmp_path)
    assert imported.kind == "nnunet"
    assert len(imported.cases) == 4
    assert imported.labels is not None
    assert imported.labels.names == ("kidney",)


def test_malformed_nnunet_files_are_refused(tmp_path: Path) -> None:
    nnunet_folder(tmp_path)
    make_json(tmp_path / "splits_final.json", {"val": ["a"]})
    with pytest.raises(MedganError, match=r"splits_final\.json: must be a list of folds"):
        import_cohort(tmp_path)
    (tmp_path / "splits_final.json").write_text("[")
    with pytest.raises(MedganError, match=r"splits_final\.json: is not valid JSON"):
        import_cohort(tmp_path)
    make_json(tmp_path / "dataset.json", {"labels": {}})
    with pytest.raises(MedganError, match="must name its channels in 'channel_names', found None"):
        import_cohort(tmp_path)
    make_json(tmp_path / "dataset.json", [])
    with pytest.raises(MedganError, match="must hold a JSON object, found list"):
        import_cohort(tmp_path)


# --- BIDS


def bids_folder(folder: Path) -> Path:
    make_files(
        folder,
        "dataset_description.json",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz",
        "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz",
        "sub-02/anat/sub-02_run-1_T1w.nii.gz",
        "sub-02/anat/sub-02_run-2_T1w.nii.gz",
        "sub-03/ct/sub-03_ct.nii.gz",
        "derivatives/manual/sub-01/ses-a/anat/sub-01_ses-a_desc-manual_dseg.nii.gz",
        "derivatives/manual/sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz",
        "derivatives/manual/sub-02/anat/sub-02_run-2_space-orig_dseg.nii.gz",
        "derivatives/prep/sub-02/anat/sub-02_run-1_space-MNI152_dseg.nii.gz",
        "derivatives/prep/sub-01/ses-a/anat/sub-01_ses-a_desc-preproc_T1w.nii.gz",
        "derivatives/manual/sub-09/anat/sub-09_dseg.nii.gz",
    )
    return folder


def test_bids_labels_are_joined_by_the_entities_in_names(tmp_path: Path) -> None:
    imported = import_cohort(bids_folder(tmp_path))
    assert imported.kind == "bids"
    assert {name: label for name, (_, label, _) in rows_of(imported).items()} == {
        "sub-01_ses-a_T1w": "derivatives/manual/sub-01/ses-a/anat/sub-01_ses-a_desc-manual_dseg.nii.gz",
        "sub-01_ses-b_T1w": "",
        "sub-02_run-1_T1w": "",
        "sub-02_run-2_T1w": "derivatives/manual/sub-02/anat/sub-02_run-2_space-orig_dseg.nii.gz",
        "sub-03_ct": "",
    }
    assert skipped_in(imported) == {
        "derivatives/prep/sub-02/anat/sub-02_run-1_space-MNI152_dseg.nii.gz": (
            "lies in the space 'MNI152', not on the grid of its image"
        ),
        "derivatives/manual/sub-09/anat/sub-09_dseg.nii.gz": "a label without an image",
    }
    patients = {key.patient_in_source: key.patient for key in imported.keys}
    assert set(patients) == {"01", "02", "03"}
    assert len(set(patients.values())) == 3


def test_bids_pattern_chooses_among_labels(tmp_path: Path) -> None:
    imported = import_cohort(bids_folder(tmp_path), labels="*_desc-brain_mask.nii.gz")
    assert [label for _, label, _ in rows_of(imported).values() if label] == [
        "derivatives/manual/sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz"
    ]


def test_bids_image_with_two_labels_is_skipped_with_both_named(tmp_path: Path) -> None:
    bids_folder(tmp_path)
    shutil.copytree(tmp_path / "derivatives" / "manual", tmp_path / "derivatives" / "second")
    reasons = skipped_in(import_cohort(tmp_path))
    reason = reasons["sub-02/anat/sub-02_run-2_T1w.nii.gz"]
    assert "has 2 labels, derivatives/manual/sub-02/" in reason
    assert "choose with --labels" in reason


def test_bids_label_that_may_belong_to_two_images_needs_a_choice(tmp_path: Path) -> None:
    make_files(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz")
    make_files(tmp_path, "derivatives/x/sub-01/anat/sub-01_dseg.nii.gz")
    (reason,) = skipped_in(import_cohort(tmp_path)).values()
    assert reason == "may belong to sub-01_T1w.nii.gz, sub-01_T2w.nii.gz; choose one kind of image with --images"
    imported = import_cohort(tmp_path, kind="bids", images=["*_T2w.nii.gz"])
    assert rows_of(imported)["sub-01_T2w"][1] == "derivatives/x/sub-01/anat/sub-01_dseg.nii.gz"
    make_files(tmp_path, "derivatives/x/sub-01/anat/sub-01_space-T1w_dseg.nii.gz")
    (tmp_path / "derivatives/x/sub-01/anat/sub-01_dseg.nii.gz").unlink()
    assert rows_of(import_cohort(tmp_path))["sub-01_T1w"][1].endswith("sub-01_space-T1w_dseg.nii.gz")


def test_bids_table_names_the_organs(tmp_path: Path) -> None:
    bids_folder(tmp_path)
    table = "index\tname\tcolor\n0\tBackground\t#000000\n4\tLeft lung\t#ff0000\n7\tRight lung\t#00ff00\n"
    make_files(tmp_path, "derivatives/manual/dseg.tsv", content=table)
    organs = import_cohort(tmp_path).labels
    assert organs is not None
    assert [(organ.name, organ.value, organ.mirror) for organ in organs.organs] == [
        ("Left lung", 4, "Right lung"),
        ("Right lung", 7, "Left lung"),
    ]
    make_files(tmp_path, "derivatives/manual/sub-02/anat/sub-02_run-2_dseg.tsv", content="index\tname\n1\tAny\n")
    imported = import_cohort(tmp_path)
    assert imported.labels is None
    assert "tables of organs differ" in skipped_in(imported)["labels.yaml"]
    make_files(tmp_path, "derivatives/manual/dseg.tsv", content="value\tname\n1\tx\n")
    with pytest.raises(MedganError, match=r"dseg\.tsv: must have the columns index and name"):
        import_cohort(tmp_path)


# --- TotalSegmentator


def totalsegmentator_folder(folder: Path) -> Path:
    for name in ("s0001", "s0002", "s0003"):
        make_files(folder, f"{name}/ct.nii.gz", f"{name}/segmentations/lung_left.nii.gz")
    make_files(folder, "s0002/segmentations/lung_right.nii.gz", "s0004/ct.nii.gz", "s0005/segmentations/heart.nii.gz")
    return folder


def test_totalsegmentator_label_is_the_folder_of_masks(tmp_path: Path) -> None:
    imported = import_cohort(totalsegmentator_folder(tmp_path))
    assert imported.kind == "totalsegmentator"
    rows = rows_of(imported)
    assert rows["s0002"][:2] == (("s0002/ct.nii.gz",), "s0002/segmentations")
    assert rows["s0004"] == (("s0004/ct.nii.gz",), "", "test")
    assert skipped_in(imported) == {"s0005": "holds segmentations, but no ct.nii.gz or mri.nii.gz"}
    assert imported.labels is not None
    assert [(o.name, o.value, o.mirror) for o in imported.labels.organs] == [
        ("lung_left", 1, "lung_right"),
        ("lung_right", 2, "lung_left"),
    ]
    written = write_cohort(imported, tmp_path / "cohort.csv")
    assert {case.label for case in read_manifest(written.manifest)} == {case.label for case in imported.cases}


def test_totalsegmentator_table_gives_the_splits(tmp_path: Path) -> None:
    totalsegmentator_folder(tmp_path)
    table = "image_id;age;split\ns0001;61;test\ns0002;40;train\ns0004;33;val\n"
    make_files(tmp_path, "meta.csv", content=table)
    imported = import_cohort(tmp_path)
    assert {name: split for name, (_, _, split) in rows_of(imported).items()} == {"s0001": "test", "s0002": "train"}
    reasons = skipped_in(imported)
    assert reasons["s0003"] == "meta.csv gives it no split of train, val, test"
    assert reasons["s0004"] == "a val case without masks in segmentations"
    make_files(tmp_path, "meta.csv", content="id,split\n")
    with pytest.raises(MedganError, match=r"meta\.csv: must have the columns image_id and split"):
        import_cohort(tmp_path)


# --- any folder


@pytest.mark.parametrize(
    ("pattern", "path", "groups"),
    [
        ("*/ct.nii.gz", "p1/ct.nii.gz", ("p1",)),
        ("*/ct.nii.gz", "p1/x/ct.nii.gz", None),
        ("**/ct.nii", "p1/x/ct.nii", ("p1/x/",)),
        ("**/ct.nii", "ct.nii", ("",)),
        ("p?_*.nii", "p1_a.b.nii", ("1", "a.b")),
        ("a.nii", "abnii", None),
        ("[a].nii", "[a].nii", ()),
    ],
)
def test_patterns_tell_what_their_wildcards_matched(pattern: str, path: str, groups: object) -> None:
    match = compile_pattern(pattern).fullmatch(path)
    assert (match and match.groups()) == groups


def test_pattern_of_labels_takes_its_files_from_the_images(tmp_path: Path) -> None:
    make_files(tmp_path, "p1_frame1.nii", "p1_frame1_gt.nii", "p1_frame2.nii", "p1_frame2_gt.nii", ".hidden_framex.nii")
    imported = import_cohort(tmp_path, images=["*_frame*.nii"], labels="*_frame*_gt.nii")
    assert {name: label for name, (_, label, _) in rows_of(imported).items()} == {
        "p1_1": "p1_frame1_gt.nii",
        "p1_2": "p1_frame2_gt.nii",
    }
    assert {case.patient for case in imported.cases} == {"patient_0001"}


def test_a_pattern_per_channel_and_folders_as_images_and_labels(tmp_path: Path) -> None:
    make_files(tmp_path, "p1/t1/1.dcm", "p1/t2/1.dcm", "p1/masks/heart.nii.gz", "p2/t1/1.dcm", "p3/t1/1.dcm")
    (tmp_path / "p3" / "t2").mkdir()
    imported = import_cohort(tmp_path, images=["*/t1", "*/t2"], labels="*/masks")
    assert rows_of(imported) == {"p1": (("p1/t1", "p1/t2"), "p1/masks", "train")}
    assert skipped_in(imported) == dict.fromkeys(("p2/t1", "p3/t1"), "it has no channel that fits '*/t2'")


def test_patterns_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    make_files(tmp_path, "p1/ct.nii")
    with pytest.raises(MedganError, match=r"equally many wildcards, .* '\*/ct.nii' \(1\), '\*/\*_seg.nii' \(2\)"):
        import_cohort(tmp_path, images=["*/ct.nii"], labels="*/*_seg.nii")
    with pytest.raises(MedganError, match=r"no file or folder fits the pattern of the labels, '\*/seg.nii'"):
        import_cohort(tmp_path, images=["*/ct.nii"], labels="*/seg.nii")
    with pytest.raises(MedganError, match="needs a pattern for its images"):
        import_cohort(tmp_path, kind="folder")


def test_single_file_without_wildcard_is_a_case(tmp_path: Path) -> None:
    make_files(tmp_path, "ct.nii.gz", "seg.nii.gz")
    imported = import_cohort(tmp_path, images=["ct.nii.gz"], labels="seg.nii.gz")
    assert imported.cases == (
        Case("case_0001", (tmp_path / "ct.nii.gz",), tmp_path / "seg.nii.gz", "train", "patient_0001"),
    )
