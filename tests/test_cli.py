import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from phantoms import box_volume
from tiny import write_box_cohort

import medgan.pipeline
from medgan import __version__
from medgan.cli import _tally, app, main
from medgan.volume.writers import write_volume

COMMANDS = (
    "quickstart",
    "phantom",
    "manifest",
    "inspect",
    "check",
    "train",
    "predict",
    "convert",
    "evaluate",
    "compare",
    "report",
)


@pytest.fixture
def medgan_command(monkeypatch, capsys):
    """Run `medgan ARGUMENTS` in this process; return exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medgan", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def config_with(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_these_are_the_commands():
    assert set(typer.main.get_command(app).commands) == set(COMMANDS)


@pytest.mark.parametrize("columns", ["80", "100"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_one_screen_and_shows_an_example(medgan_command, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", columns)
    code, out, _ = medgan_command(command, "--help")
    lines = out.rstrip().splitlines()
    assert code == 0
    assert len(lines) <= 24, f"{len(lines)} lines"
    assert max(map(len, lines)) <= int(columns)
    assert re.search(rf"Example: medgan {command} ", out)


def test_help_names_every_command(medgan_command):
    code, out, _ = medgan_command("--help")
    assert code == 0
    assert all(re.search(rf"^ +{command} +\w", out, re.MULTILINE) for command in COMMANDS)
    assert "Start with: medgan quickstart" in out


def test_version_is_that_of_the_package(medgan_command):
    assert medgan_command("--version") == (0, f"{__version__}\n", "")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['medgan', '--help']\n"
        "from medgan.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'monai', 'numpy', 'SimpleITK', 'matplotlib', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_missing_config_exits_2(medgan_command, tmp_path):
    code, _, err = medgan_command("train", tmp_path / "absent.yaml")
    assert code == 2
    assert err.startswith(f"medgan: config {tmp_path / 'absent.yaml'}: could not be read")
    assert len(err.splitlines()) == 1


def test_misspelt_key_exits_2_and_names_the_right_one(medgan_command, tmp_path):
    config = config_with(tmp_path, "data: {manifest: m.csv, labels: l.yaml}\ntraining: {max_step: 5}\n")
    code, _, err = medgan_command("train", config, "-o", tmp_path / "model")
    assert code == 2
    assert "line 2: training.max_step: there is no such key; did you mean max_steps" in err
    assert len(err.splitlines()) == 1


def test_missing_manifest_exits_2(medgan_command, tmp_path):
    (tmp_path / "l.yaml").write_text("heart: 1\n")
    config = config_with(tmp_path, "data: {manifest: absent.csv, labels: l.yaml}\n")
    code, _, err = medgan_command("train", config, "-o", tmp_path / "model")
    assert code == 2
    assert "absent.csv" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.max_steps", "must look like section.key=value"),
        ("training.max_steps=many", "training.max_steps: "),
        ("training.max_steps=0", "greater than or equal to 1"),
        ("trainign.seed=1", "did you mean training"),
    ],
)
def test_bad_override_exits_2(medgan_command, tmp_path, override, message):
    config = config_with(tmp_path, "data: {manifest: m.csv, labels: l.yaml}\n")
    code, _, err = medgan_command("train", config, override, "-o", tmp_path / "model")
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_folder_without_a_model_exits_2(medgan_command, tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(b"x")
    code, _, err = medgan_command("predict", tmp_path, tmp_path / "case.nii.gz", "-o", tmp_path / "out")
    assert code == 2
    assert err == f"medgan: model {tmp_path}: must be a folder with config.yaml, as `medgan train` writes.\n"


def test_quickstart_into_a_folder_in_use_exits_2(medgan_command, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    code, _, err = medgan_command("quickstart", "--out", tmp_path)
    assert code == 2
    assert err == f"medgan: {tmp_path}: is not empty; remove it, or choose another folder with --out.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_report_without_scores_exits_2(medgan_command, tmp_path):
    code, _, err = medgan_command("report", tmp_path)
    assert code == 2
    assert "Run `medgan evaluate` first" in err


def test_convert_shows_what_it_wrote(medgan_command, tmp_path):
    write_volume(box_volume(labels=True), tmp_path / "a.nii.gz")
    (tmp_path / "labels.yaml").write_text("heart: 1\nliver: 2\nspleen: 3\n")
    code, out, err = medgan_command(
        "convert", tmp_path / "a.nii.gz", tmp_path / "b.seg.nrrd", "--labels", tmp_path / "labels.yaml"
    )
    assert (code, err) == (0, "")
    grid = "12x10x8 voxels of (1.5, 2, 3) mm, RAS, first voxel at (0.0, 0.0, 0.0) mm"
    assert [line.split(maxsplit=1) for line in out.splitlines()] == [
        ["labels", f"{tmp_path / 'b.seg.nrrd'} ({grid})"],
        ["1", "heart"],
        ["2", "liver"],
        ["3", "spleen"],
    ]


def test_convert_of_an_image_into_labels_exits_2(medgan_command, tmp_path):
    write_volume(box_volume(), tmp_path / "a.nii.gz")
    code, out, err = medgan_command("convert", tmp_path / "a.nii.gz", tmp_path / "b.seg.nrrd")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "is it an image?" in err


def test_unknown_prediction_format_exits_2(medgan_command, tmp_path):
    code, _, err = medgan_command("predict", tmp_path, tmp_path, "-o", tmp_path, "--format", "nifti, dicom")
    assert code == 2
    assert err.startswith("medgan: format must be one or more of nifti, ")
    assert err.endswith("found 'dicom'.\n")


@pytest.mark.parametrize("command", ["train", "predict"])
def test_missing_argument_exits_2(medgan_command, command):
    code, _, err = medgan_command(command)
    assert code == 2
    assert "Missing argument" in err


def test_interruption_exits_130(medgan_command, monkeypatch, tmp_path):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(medgan.pipeline, "train", interrupted)
    code, _, err = medgan_command("train", tmp_path / "config.yaml")
    assert code == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_error_of_our_own_is_not_hidden(medgan_command, monkeypatch, tmp_path):
    def broken(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(medgan.pipeline, "train", broken)
    monkeypatch.setattr(sys, "argv", ["medgan", "train", str(tmp_path)])
    with pytest.raises(ZeroDivisionError):
        main()


def test_overrides_and_options_reach_training(medgan_command, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(medgan.pipeline, "train", lambda *a, stage, **options: calls.append((a, options)) or a[1])
    arguments = ("train", "c.yaml", "training.seed=3", "adversary.enabled=false", "-o", tmp_path, "--resume")
    code, out, _ = medgan_command(*arguments)
    assert code == 0
    options = {"overrides": ["training.seed=3", "adversary.enabled=false"], "resume": True}
    assert calls == [((Path("c.yaml"), tmp_path), options)]
    assert str(tmp_path) in out


def test_one_broken_input_exits_1_and_the_others_are_done(medgan_command, tiny_model, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(tiny_model.image("case_d"), tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"not a NIfTI")
    code, out, err = medgan_command(
        "predict", tiny_model.model, tmp_path / "in", "-o", tmp_path / "out", "--device", "cpu"
    )
    assert code == 1
    assert "(1 case)" in out
    assert "failed: broken: " in err
    assert (tmp_path / "out" / "good.nii.gz").is_file()


def test_predict_evaluate_and_report_exit_0(medgan_command, tiny_model, tmp_path):
    options = ("--split", "test", "-o")
    predictions, evaluation = tmp_path / "predictions", tmp_path / "evaluation"
    setting = ("--set", "inference.overlap=0.25")
    code, _, _ = medgan_command("predict", tiny_model.model, tiny_model.manifest, *options, predictions, *setting)
    assert code == 0
    code, out, _ = medgan_command("evaluate", tiny_model.manifest, predictions, *options, evaluation)
    assert code == 0
    assert re.search(r"top_box +Dice \d\.\d{3}", out)
    (evaluation / "report.html").unlink()
    code, out, _ = medgan_command("report", evaluation)
    assert code == 0
    assert (evaluation / "report.html").is_file()


def test_evaluate_takes_its_folders_as_options_too(medgan_command, tiny_model, tmp_path):
    labels = tiny_model.label("case_d").parent
    options = ("--labels", "a=1,b=2,c=3", "--tolerance-mm", "a=3, b=1", "--set", "evaluation.surface=voxels")
    folders = ("--reference", labels, "--prediction", labels)
    code, out, _ = medgan_command("evaluate", *folders, "-o", tmp_path, *options, "--view", "case_d", "--workers", 1)
    assert code == 0
    assert "4 cases are evaluated, 0 are not.\n" in out
    document = json.loads((tmp_path / "summary.json").read_text())
    assert {organ: each["tolerance_mm"] for organ, each in document["organs"].items()} == {"a": 3.0, "b": 1.0, "c": 2.0}
    assert document["evaluation"]["surface"] == "voxels"
    assert (tmp_path / "viewer" / "case_d" / "case.json").is_file()


@pytest.mark.parametrize(
    ("done", "failed", "told"),
    [(["a"], {}, "1 case is evaluated, 0 are not."), (["a", "b"], {"c": "why"}, "2 cases are evaluated, 1 is not.")],
)
def test_one_case_is_told_as_one(done, failed, told):
    assert _tally("evaluated", done, failed) == told


def test_evaluate_exits_1_where_a_case_is_not_evaluated(medgan_command, tiny_model, tmp_path):
    labels = shutil.copytree(tiny_model.label("case_d").parent, tmp_path / "predictions")
    (labels / "case_b.nii.gz").write_bytes(b"not a NIfTI")
    (labels / "case_c.nii.gz").unlink()
    folders = (tiny_model.label("case_d").parent, labels)
    code, out, err = medgan_command("evaluate", *folders, "-o", tmp_path / "out", "--labels", "a=1,b=2,c=3")
    assert code == 1
    assert "2 cases are evaluated, 2 are not.\n" in out
    assert "failed: case_b: prediction case_b.nii.gz is not a NIfTI file" in err
    assert "failed: case_c: no prediction is named for it.\n" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "reference: is missing; medgan evaluate REFERENCE PREDICTION -o OUT, or a CSV of pairs."),
        (("a.nii",), "reference a.nii: needs predictions to compare with"),
        (("a.nii", "--reference", "b.nii"), "reference: is given twice, a.nii and --reference b.nii; give it once."),
        (
            ("a.nii", "b.nii", "--prediction", "c"),
            "prediction: is given twice, b.nii and --prediction c; give it once.",
        ),
        (("a.nii", "b.nii"), "reference a.nii: no such file or folder."),
        (("a.nii", "b.nii", "--tolerance-mm", "heart"), "override: evaluation.surface_tolerance_mm"),
        (
            ("a.nii", "b.nii", "--tolerance-mm", ""),
            "--tolerance-mm: must be a number, or such as heart=3,aorta=1, found ''",
        ),
        (
            ("a.nii", "b.nii", "--tolerance-mm", "a=1,b="),
            "--tolerance-mm: must be a number, or such as heart=3,aorta=1",
        ),
        (("a.nii", "b.nii", "--tolerance-mm", "a=1, a =2"), "must have one tolerance, found several for a."),
        (("a.nii", "b.nii", "--labels", ""), "labels must be a labels file, a LabelMap, or such as 'heart=3,aorta=4'"),
        (("a.nii", "b.nii", "--set", "training.seed=1"), "override 'training.seed=1': only evaluation.key=value"),
        (("a.nii", "b.nii", "--config", "absent.yaml"), "config absent.yaml: could not be read"),
    ],
)
def test_evaluate_of_what_makes_no_sense_exits_2(medgan_command, tmp_path, arguments, message):
    code, _, err = medgan_command("evaluate", *arguments, "-o", tmp_path)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_results_go_to_no_folder_without_a_name(medgan_command, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    code, _, err = medgan_command(command, "a", "b", "-o", "")
    assert (code, err) == (2, "medgan: --out: must name a folder, found nothing; say . for the current one.\n")


def test_no_file_name_reaches_the_terminal_as_a_command(medgan_command, tiny_model, tmp_path):
    label = tiny_model.label("case_a")
    for side in ("reference", "prediction"):
        (tmp_path / side).mkdir()
        for name in ("ok", "\x1b[2Jred", "two\nlines", "\u202ertl"):
            shutil.copy(label, tmp_path / side / f"{name}.nii.gz")
    folders = (tmp_path / "reference", tmp_path / "prediction")
    code, _, err = medgan_command("evaluate", *folders, "-o", tmp_path / "out", "--labels", "a=1,b=2,c=3")
    assert code == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", err)
    told = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert [line.split(":")[1] for line in told] == [r" \x1b[2Jred", r" two\nlines", r" \u202ertl"]
    code, _, err = medgan_command("evaluate", tmp_path / "\x1b[2J", label, "-o", tmp_path / "out")
    assert (code, "\x1b" in err, r"\x1b[2J: no such file or folder" in err) == (2, False, True)


def test_problems_are_listed_below_each_other(medgan_command, tmp_path):
    code, _, err = medgan_command("train", config_with(tmp_path, "dat: 1\n"))
    assert code == 2
    assert [line[:4] for line in err.splitlines()] == ["medg", "  - ", "  - "]


def test_interruption_while_starting_up_is_one_line(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "medgan", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (130, "medgan: interrupted; what was written is whole.\n")


def test_the_command_is_the_module():
    done = subprocess.run([sys.executable, "-m", "medgan", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{__version__}\n"
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="medgan")
    assert callable(script.load())


def test_evaluate_leaves_torch_alone(tiny_model, tmp_path):
    label = str(tiny_model.label("case_a"))
    code = (
        f"import sys; sys.argv = ['medgan', 'evaluate', {label!r}, {label!r}, '-o', {str(tmp_path)!r}]\n"
        "from medgan.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: print(left.code)\n"
        "print([m for m in ('torch', 'monai') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["0", "[]"]
    assert (tmp_path / "report.html").is_file()


def test_check_exits_1_where_a_case_is_not_usable(medgan_command, tiny_model, tmp_path):
    code, out, _ = medgan_command("check", tiny_model.config)
    assert (code, out) == (0, "4 cases are usable, 0 are not.\n")
    cohort = shutil.copytree(tiny_model.config.parent, tmp_path / "cohort")
    (cohort / "images" / "case_b.nii.gz").write_bytes(b"not a NIfTI")
    code, out, err = medgan_command("check", cohort / "manifest.csv")
    assert (code, out) == (1, "3 cases are usable, 1 is not.\n")
    assert "failed: case_b: " in err


def test_check_tells_warnings_and_writes_json(medgan_command, tmp_path):
    config = write_box_cohort(tmp_path)
    shutil.copy(tmp_path / "images" / "case_a.nii.gz", tmp_path / "images" / "case_b.nii.gz")
    shutil.copy(tmp_path / "labels" / "case_a.nii.gz", tmp_path / "labels" / "case_b.nii.gz")
    expected = "warning: one image stands for several cases: case_a (train), case_b (train).\n"
    for path, workers in ((config, 1), (tmp_path / "manifest.csv", 2)):
        code, out, _ = medgan_command("check", path, "--workers", workers, "--json", tmp_path / "check.json")
        assert (code, out) == (0, f"{expected}4 cases are usable, 0 are not.\n")
        assert json.loads((tmp_path / "check.json").read_text())["warnings"][0]["kind"] == "duplicate"
    (tmp_path / "labels.yaml").unlink()
    code, out, _ = medgan_command("check", tmp_path / "manifest.csv", "--workers", 1)
    assert "note: without --labels, unknown values, absent organs and swapped sides were not looked for.\n" in out


def test_inspect_shows_text_or_json(medgan_command, tiny_model, tmp_path):
    code, out, err = medgan_command("inspect", tiny_model.image("case_a"))
    assert (code, err) == (0, "")
    assert "orientation  RAS: voxel i runs left to right, j back to front, k feet to head\n" in out
    code, out, _ = medgan_command("inspect", tiny_model.label("case_a"), "--json")
    assert code == 0
    assert [row["number"] for row in json.loads(out)["labels"]] == [1, 2, 3]
    code, _, err = medgan_command("inspect", tmp_path / "absent.nii")
    assert (code, err) == (2, f"medgan: {tmp_path / 'absent.nii'} does not exist; check the path.\n")


def test_inspect_and_check_leave_torch_alone(tiny_model):
    for arguments in (["inspect", str(tiny_model.image("case_a"))], ["check", str(tiny_model.manifest)]):
        code = (
            f"import sys; sys.argv = ['medgan', *{arguments}]\n"
            "from medgan.cli import main\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "print([m for m in ('torch', 'monai', 'matplotlib', 'skimage') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_manifest_writes_a_table_that_check_takes(medgan_command, tiny_model, tmp_path):
    cohort = shutil.copytree(tiny_model.config.parent, tmp_path / "cohort", ignore=shutil.ignore_patterns("*.csv"))
    patterns = ("--images", "images/*.nii.gz", "--labels", "labels/*.nii.gz", "--val", "0.3", "--test", "0.25")
    code, out, _ = medgan_command("manifest", cohort, tmp_path / "lists" / "cohort.csv", *patterns)
    assert code == 0
    assert "cases        4 of 4 patients: 2 train, 1 val, 1 test; 4 with a label" in out
    arguments = out.splitlines()[-1].removeprefix("next         medgan ").split()
    code, out, _ = medgan_command(*arguments)
    assert code == 0
    assert "4 cases are usable, 0 are not." in out
    code, _, err = medgan_command("manifest", cohort, tmp_path / "lists" / "cohort.csv", *patterns)
    assert code == 2
    assert "cohort.csv exists; use --force to replace it." in err


def test_manifest_of_a_folder_without_images_exits_2(medgan_command, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    code, _, err = medgan_command("manifest", tmp_path, tmp_path / "cohort.csv")
    assert code == 2
    assert "holds no image (looked at as kind 'dicom')" in err
    assert not (tmp_path / "cohort.csv").exists()


def test_installed_command_exits_2_with_one_sentence(tmp_path):
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-m", "medgan.cli", "train", str(tmp_path / "absent.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
