"""The command line: quick, with help everywhere, and a mistake is one message without a traceback."""

import csv
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import visioncore
from forked import visioncore_command
from visioncore import cli
from visioncore.config import dump_yaml

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "experiments"
MODEL = EXPERIMENTS / "model_configs" / "vivit_tiny.yaml"
DATA = EXPERIMENTS / "data_configs" / "simulated.yaml"
TRAIN_SCRIPT = EXPERIMENTS / "train_vivit.sh"
COMMANDS = {
    "audit",
    "benchmark",
    "compare",
    "describe",
    "download",
    "embed",
    "ensemble",
    "evaluate",
    "inspect",
    "look",
    "prepare",
    "push",
    "recipes",
    "report",
    "search",
    "suggest",
    "train",
    "transfer",
    "tune",
}

TINY_DATA: dict[str, Any] = {
    "type": "simulated",
    "params": {
        "sampling_rate_hz": 60,
        "height": 20,
        "width": 28,
        "minutes_per_session": 1,
        "units_per_session": 3,
        "trial_s": 2,
        "repeated_stimuli": 1,
        "repeats": 3,
        "subjects": ["A", "B"],
    },
}
TINY_MODEL: dict[str, Any] = {
    "sampling_rate": 60,
    "convnet": {
        "type": "vivit",
        "params": {
            "embedding_dim": 8,
            "num_spatial_blocks": 1,
            "num_temporal_blocks": 1,
            "num_heads": 1,
            "head_dim": 8,
            "patch_size": [4, 8, 8],
            "stride": [2, 8, 8],
            "padding": "same",
        },
    },
    "modulator": {"type": "convgru", "params": {"behaviour_dim": 4, "hidden_dim": 4}},
    "linear": {"type": "low_rank", "params": {"rank": 1}},
}
TINY_TRAINING = {"max_epochs": 2, "steps_per_epoch": 2, "batch_size": 2, "clip_frames": 60}
SECTION_KEYS = {
    "bits_per_spike",
    "correlation",
    "ceiling",
    "fraction_of_ceiling",
    "cc_norm",
    "n_units",
    "n_excluded",
    "n_bins",
}


@pytest.fixture(autouse=True)
def _log_level_as_before() -> Iterator[None]:
    logger = logging.getLogger("visioncore")
    level = logger.level
    yield
    logger.setLevel(level)


def run_main(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """The exit code and what is printed, as a shell would see it."""
    monkeypatch.setattr(sys, "argv", ["visioncore", *arguments])
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    printed = capsys.readouterr()
    code = caught.value.code
    assert isinstance(code, int)
    return code, printed.out, printed.err


# --- Quick --------------------------------------------------------------------------------------------------------

HEAVY = ("torch", "lightning", "numpy", "scipy", "zarr", "matplotlib", "skimage", "jinja2")


@pytest.mark.parametrize(
    "action",
    [
        "import visioncore",
        "import visioncore.cli",
        "import sys; from visioncore.cli import main; sys.argv = ['visioncore', '--help']; main()",
        "import sys; from visioncore.cli import main; sys.argv = ['visioncore', 'train', '--help']; main()",
    ],
)
def test_importing_and_help_load_no_heavy_library(action: str) -> None:
    code = f"""
import sys
try:
    {action}
except SystemExit as exit:
    assert exit.code == 0
print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_what_the_package_promises_at_the_top_is_there() -> None:
    for name in visioncore.__all__:
        assert getattr(visioncore, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'load_twins'"):
        _ = visioncore.load_twins


# --- Help ---------------------------------------------------------------------------------------------------------


def test_every_command_and_every_option_says_what_it_does() -> None:
    group = typer.main.get_command(cli.app)
    commands: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    assert set(commands) == COMMANDS
    for name, command in commands.items():
        result = CliRunner().invoke(cli.app, [name, "--help"])
        assert result.exit_code == 0
        assert command.help
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


# --- Mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["describe", "{configs}/vivit_tny.yaml"], "vivit_tny.yaml: no such file; did you mean 'vivit_tiny.yaml'?"),
        (["describe", "{folder}/typo.yaml"], "unknown key 'samplin_rate'; did you mean 'sampling_rate'?"),
        (["describe", "{folder}/tiles.yaml"], "height: 36 pixels do not tile with patch 8"),
        (["prepare", "{folder}/missing.yaml"], "missing.yaml: no such file"),
        (["prepare", "{folder}/typo.yaml"], "unknown key 'samplin_rate'; valid keys here: balance"),
        (["prepare", "{folder}/arrays.yaml"], "nowhere.npz"),
        (["train", "--model", "{folder}/typo.yaml", "--data", "{data}", "--out", "{folder}/run"], "samplin_rate"),
        (
            ["train", "--model", "{model}", "--data", "{data}", "--out", "{folder}/run", "--set", "training.epochs=3"],
            "with --set: unknown key 'training.epochs'; did you mean 'max_epochs'?",
        ),
        (
            ["train", "--model", "{model}", "--data", "{data}", "--out", "{folder}/run", "--precision", "bf16"],
            "'training.machine.precision' is 'bf16'; expected 32-true | bf16-mixed",
        ),
        (
            ["train", "--model", "{model}", "--data", "{data}", "--out", "{folder}"],
            "exists and is no run folder of ours; choose another --out",
        ),
        (["train", "--model", "{model}", "--data", "{data}", "--out", "{folder}/typo.yaml"], "Not a directory"),
        (["compare", "{folder}/nothing"], "nothing: no such run folder"),
        (["benchmark", "{folder}/nothing.yaml", "--out", "{folder}/run"], "nothing.yaml: no such file"),
        (["evaluate", "{folder}/nothing"], "nothing: no such file"),
        (["evaluate", "{folder}"], "the run folder holds no twin yet"),
        (["evaluate", "{folder}/typo.yaml"], "not a readable safetensors file"),
        (["evaluate", "{folder}", "--split", "tset"], "--split is 'tset'; expected train | validation | test"),
        (["evaluate", "{folder}", "--behaviour", "none"], "--behaviour is 'none'; expected recorded | mean"),
        (["evaluate"], "nothing to score: name a run folder or a twin, or --predictions"),
        (["evaluate", "--predictions", "{folder}/typo.yaml"], "--data says what they are of"),
        (["evaluate", "{folder}", "--predictions", "a.npz", "--data", "{data}"], "stand in place of RUN"),
        (["compare", "a={folder}/a.npz"], "do not say what they are scored on; add a run folder, or --data"),
        (["audit", "{folder}"], "the run folder holds no twin yet"),
        (["report", "{folder}/nothing"], "nothing: no such run folder"),
    ],
    ids=lambda value: "-".join(Path(v).name for v in value[:2]) if isinstance(value, list) else None,
)  # fmt: skip
def test_a_mistake_is_one_message_and_exit_code_one(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "typo.yaml").write_text("samplin_rate: 240\nconvnet: {type: none}\n")
    (tmp_path / "tiles.yaml").write_text(
        (EXPERIMENTS / "model_configs" / "vivit_small.yaml").read_text().replace("padding: same", "padding: none")
    )  # fmt: skip
    session = {"id": "a", "subject": "m", "path": "nowhere.npz", "video": "v", "responses": "r"}
    params = {"sampling_rate_hz": 60, "response_kind": "counts", "sessions": [session]}
    (tmp_path / "arrays.yaml").write_text(dump_yaml({"type": "arrays", "params": params}))
    places = {"folder": tmp_path, "configs": EXPERIMENTS / "model_configs", "model": MODEL, "data": DATA}
    code, _, err = run_main([a.format(**places) for a in arguments], monkeypatch, capsys)
    assert code == 1
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert expected in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["describe"],
        ["describe", str(MODEL), "--clip-frames", "0"],
        ["evaluate", "run", "--bin-ms", "nan"],
        ["evaluate", "run", "--bin-ms", "ten"],
        ["report", "run", "--unknown"],
        ["trian"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_prints_the_usage_and_exits_with_two(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_main(arguments, monkeypatch, capsys)
    assert code == 2
    assert "Usage:" in err + out
    assert "Traceback" not in err


# --- The guide's script -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["large"], ["--precision", "bf16-mixed"]], ids=" ".join)
def test_the_training_script_without_a_size_prints_its_usage(arguments: list[str]) -> None:
    done = subprocess.run(
        ["bash", str(TRAIN_SCRIPT), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: bash experiments/train_vivit.sh small|baseline")


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "visioncore").exists(), reason="would install a .venv")
@pytest.mark.parametrize("size", ["small", "baseline"])
def test_the_training_script_passes_its_arguments_on(size: str, tmp_path: Path) -> None:
    arguments = [size, "--out", str(tmp_path / "run"), "--set", "training.batch_sze=1"]
    done = subprocess.run(
        ["bash", str(TRAIN_SCRIPT), *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == "error: with --set: unknown key 'training.batch_sze'; did you mean 'batch_size'?\n"


# --- All the way through ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_simulated_recording_becomes_a_scored_twin_and_a_report(tmp_path: Path) -> None:
    for name, raw in (("data", TINY_DATA), ("model", TINY_MODEL), ("training", TINY_TRAINING)):
        (tmp_path / f"{name}.yaml").write_text(dump_yaml(raw))
    train = ("train", "--model", "model.yaml", "--data", "data.yaml", "--training", "training.yaml")
    # One in a process that imports everything itself, as a user's does.
    done = subprocess.run(
        [sys.executable, "-m", "visioncore.cli", *train, "--out", "run", "--set", "training.seed=3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "best twin: run/twin.safetensors" in done.stdout
    run = tmp_path / "run"
    assert {"twin.safetensors", "experiment.yaml", "plan.json", "last.ckpt", "logs"} <= {
        p.name for p in run.iterdir()
    }
    history = list(csv.DictReader((run / "logs" / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in history] == ["2", "4"]

    done = visioncore_command(
        tmp_path, "evaluate", "run", "--json", "scores/test.json", "--table", "test.csv"
    )
    assert done.returncode == 0, done.stderr
    assert "overall" in done.stdout
    scores = json.loads((tmp_path / "scores" / "test.json").read_text())
    assert {"bin_ms", "burn_in_s", "null", "causal"} <= set(scores["settings"])
    assert scores["settings"]["causal"] is True
    sections = [scores["overall"]]
    for part, keys in (("sessions", {"A1", "B1"}), ("by_phase", {"0", "1"})):
        assert set(scores[part]) == keys
        sections += scores[part].values()
    assert scores["by_kind"]
    sections += scores["by_kind"].values()
    for section in sections:
        assert set(section) >= SECTION_KEYS
        assert {"mean", "median", "ci95"} <= set(section["bits_per_spike"])
        assert "mean" in section["correlation"]
        assert "bits_per_spike" in section["ceiling"]
    assert scores["overall"]["n_units"] + scores["overall"]["n_excluded"] == 6
    rows = list(csv.DictReader((tmp_path / "test.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert {"session", "unit_id", "spikes", "bits_per_spike", "excluded_reason"} <= set(rows[0])

    done = visioncore_command(tmp_path, "report", "run")
    assert done.returncode == 0, done.stderr
    assert "run/report.html" in done.stdout
    page = (run / "report.html").read_text()
    assert page.count("<html") == 1
    assert "<h2>Audit</h2>" in page
    found = json.loads((run / "audit.json").read_text())
    levels = {finding["check"]: finding["level"] for finding in found["findings"]}
    for check in ("exact duplicates", "near duplicates", "repeats astride", "context", "constants"):
        assert levels[check] == "pass", found
    done = visioncore_command(tmp_path, "audit", "run", "--json", "audit.json")
    assert done.returncode == ("fail" in levels.values()), done.stderr
    assert "repeats astride" in done.stdout
    # Looked at by evaluate, by report for its audit only (the evaluation was there), and by audit.
    looks = json.loads((run / "test_evaluations.json").read_text())
    assert [look["purpose"] for look in looks] == ["evaluate", "audit", "audit"]
    assert "A1-000" in page

    # Without its sums, or with those of another evaluation, a run is scored again.
    (run / "evaluation_test.npz").unlink()
    done = visioncore_command(tmp_path, "compare", "run", "same=run", "--out", "compared")
    assert done.returncode == 0, done.stderr
    assert "compared/comparison.html" in done.stdout
    assert (run / "evaluation_test.npz").exists()
    compared = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    assert compared["matrix"]["run"]["same"]["bits_per_spike"]["mean"] == 0
    mine = compared["overall"]["models"]["run"]["bits_per_spike"]
    theirs = scores["overall"]["bits_per_spike"]
    assert (mine["mean"], mine["ci95"]) == (pytest.approx(theirs["mean"]), pytest.approx(theirs["ci95"]))
    assert compared["models"]["run"]["seeds"] == [3]

    # The data of another animal hold none of the twin's sessions.
    other = TINY_DATA | {"params": TINY_DATA["params"] | {"subjects": ["C"]}}
    (tmp_path / "other.yaml").write_text(dump_yaml(other))
    done = visioncore_command(tmp_path, "evaluate", "run", "--data", "other.yaml")
    assert done.returncode == 1
    assert "the twin has no session 'C1'" in done.stderr
    assert "Traceback" not in done.stderr

    # Another experiment does not overwrite this one.
    done = visioncore_command(tmp_path, *train, "--out", "run")
    assert done.returncode == 1
    assert "run holds another experiment (different: training.seed)" in done.stderr
