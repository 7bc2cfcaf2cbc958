import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import medgan.pipeline
from medgan import __version__
from medgan.cli import app, main

COMMANDS = ("quickstart", "phantom", "check", "train", "predict", "evaluate", "report")


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
    assert "(1 cases)" in out
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


def test_check_exits_1_where_a_case_is_not_usable(medgan_command, tiny_model, tmp_path):
    code, out, _ = medgan_command("check", tiny_model.config)
    assert (code, out) == (0, "4 cases are usable, 0 are not.\n")
    cohort = shutil.copytree(tiny_model.config.parent, tmp_path / "cohort")
    (cohort / "images" / "case_b.nii.gz").write_bytes(b"not a NIfTI")
    code, out, err = medgan_command("check", cohort / "manifest.csv")
    assert (code, out) == (1, "3 cases are usable, 1 are not.\n")
    assert "failed: case_b: " in err


def test_installed_command_exits_2_with_one_sentence(tmp_path):
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-m", "medgan.cli", "train", str(tmp_path / "absent.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
