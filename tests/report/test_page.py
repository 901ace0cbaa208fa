"""The report page: whole, self-contained, and honest about what it cannot show."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visioncore.audit import audit
from visioncore.config import build_config
from visioncore.data import DataConfig, RecordingStore, build_data_config, prepare
from visioncore.errors import DataError
from visioncore.evaluation import evaluate, record_test_evaluation
from visioncore.model import Twin, TwinConfig
from visioncore.report import SECTIONS, Section, Shown, write_report

RATE_HZ, TRIAL, N_UNITS = 60.0, 120, 3
HISTORY = """step,train_loss,validation_loss,validation_score,learning_rate,gradient_norm
10,0.5,0.6,0.1,0.001,1.0
20,0.4,0.5,0.3,0.0005,1.0
30,0.4,0.5,nan,0.0,1.0
"""
VIVIT: dict[str, Any] = {
    "embedding_dim": 8,
    "num_spatial_blocks": 1,
    "num_temporal_blocks": 1,
    "num_heads": 1,
    "head_dim": 8,
    "ff_dim": 8,
    "patch_size": [4, 4, 4],
    "stride": [2, 4, 4],
    "padding": "same",
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RecordingStore]:
    """Twenty trials, the last four repeats of one stimulus; a session's name would break careless HTML."""
    folder = tmp_path_factory.mktemp("recording")
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (20 * TRIAL, 6, 9), dtype=np.uint8)
    video[17 * TRIAL :] = np.tile(video[16 * TRIAL : 17 * TRIAL], (3, 1, 1))
    rates = np.tile(0.1 + 0.4 * (video[:, :1, 0] > 127), (1, N_UNITS)).astype(np.float32)
    np.savez(
        folder / "one.npz",
        video=video,
        counts=rng.poisson(rates),
        trace=rates * 2 - 1,
        trial=np.repeat(np.arange(20), TRIAL),
        split=np.array(["train"] * 12 + ["validation"] * 2 + ["test"] * 6),
        stimulus=np.array([f"s{i}" for i in range(16)] + ["frozen"] * 4),
        rates=rates,
    )

    def store(kind: str) -> RecordingStore:
        session = {
            "id": "<script>alert(1)</script>",
            "subject": "m&m",
            "path": "one.npz",
            "video": "video",
            "responses": "counts" if kind == "counts" else "trace",
            "trial": "trial",
            "split": "split",
            "stimulus_id": "stimulus",
            "rates": "rates",
        }
        params = {"sampling_rate_hz": RATE_HZ, "response_kind": kind, "sessions": [session]}
        raw = {"type": "arrays", "params": params, "burn_in_s": 0.1}
        config: DataConfig = build_data_config(raw, "test.yaml")
        return prepare(config, folder)

    return store


def tiny_twin(store: RecordingStore, core: str = "vivit") -> Twin:
    torch.manual_seed(0)
    convnet = {"type": "vivit", "params": VIVIT} if core == "vivit" else {"type": "none"}
    raw = {
        "model_type": "v1multi",
        "sampling_rate": RATE_HZ,
        "convnet": convnet,
        "linear": {"type": "low_rank"},
    }
    return build_config(TwinConfig, raw, "test").build(store.spec).eval()


def report(store: RecordingStore, run_dir: Path, core: str = "vivit") -> str:
    twin = tiny_twin(store, core)
    result = evaluate(twin, store, progress=False)
    path = write_report(twin, store, result, run_dir)
    assert path == run_dir / "report.html"
    assert [file.name for file in run_dir.iterdir() if file.suffix == ".partial"] == []
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(recording: Callable[[str], RecordingStore], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a run folder that has everything."""
    run_dir = tmp_path_factory.mktemp("run") / "a <b>bold</b> run"
    (run_dir / "logs").mkdir(parents=True)
    (run_dir / "logs" / "metrics.csv").write_text(HISTORY)
    (run_dir / "experiment.yaml").write_text("model: {note: '<i>slanted</i>'}\n")
    return report(recording("counts"), run_dir)


def test_the_page_asks_for_nothing_outside_itself(page: str) -> None:
    assert re.findall(r"https?://", page) == []
    assert re.findall(r"<link[^>]*href=\"(?!data:)", page) == []
    assert re.findall(r"(?:src|srcset|poster|action)=\"(?!data:image/png;base64,)", page) == []
    assert re.findall(r"@import|url\((?!data:)|fetch\(|XMLHttpRequest", page) == []


def test_every_figure_is_there_and_is_a_png(page: str) -> None:
    images = re.findall(r"<img[^>]*src=\"data:image/png;base64,(\w{8})", page)
    assert images == ["iVBORw0K"] * 7
    for heading in (
        "What it saw",
        "repeated stimuli",
        "Every unit",
        "Receptive fields",
        "Attention",
        "Training",
        "Tables",
    ):
        assert heading in page


def test_an_audit_of_this_twin_is_on_the_page_and_one_of_another_twin_is_not(
    recording: Callable[[str], RecordingStore], tmp_path: Path
) -> None:
    store = recording("counts")
    twin = tiny_twin(store, core="none")
    result = audit(twin, store, progress=False)
    record_test_evaluation(tmp_path, twin.digest, store.fingerprint, {}, "audit")
    result.write_json(tmp_path / "audit.json")
    page = report(store, tmp_path, core="none")
    section = page.split('<section id="audit">')[1].split("</section>")[0]
    assert all(f"<th>{finding.check}</th>" in section for finding in result.findings)
    assert section.count("data:image/png") == 1
    assert ("reasons not to believe" in page) == (not result.passed)
    assert "test split evaluated once, by one twin" in page
    assert '<section id="audit">' not in report(store, tmp_path)


def test_names_from_the_data_are_text_and_never_markup(page: str) -> None:
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "<b>bold" not in page
    assert "<i>slanted" not in page


def test_the_headline_carries_what_a_score_needs_to_mean_something(page: str) -> None:
    headline = page.split('<section class="headline">')[1].split("</section>")[0]
    for needed in ("bits/spike", "95 % interval", "16.67 ms", "Causal", "0.1 s", "mean rate of the training"):
        assert needed in headline


def test_the_clip_has_a_value_for_every_bin_and_a_place_for_every_frame(page: str) -> None:
    text = page.split('id="clip-data">')[1].split("</script>")[0]
    data = json.loads(text)
    assert data["bins"] == TRIAL
    assert data["repeats"] == 4
    assert data["frames"] == TRIAL // 2
    assert len(data["units"]) == N_UNITS
    for unit in data["units"]:
        assert len(unit["predicted"]) == len(unit["recorded"]) == TRIAL
        assert unit["predicted"][0] is None  # the stride is 2: the first bin is not predicted
        assert None not in unit["predicted"][1:]
        assert len(unit["spikes"]) == 4
        assert 0 <= unit["field"]["row"] <= data["height"]


def test_a_twin_without_core_and_a_bare_run_folder_still_make_a_page(
    recording: Callable[[str], RecordingStore], tmp_path: Path
) -> None:
    page = report(recording("counts"), tmp_path, core="none")
    assert "no unit has a readout position" in page
    assert "<h2>Training</h2>" not in page


def test_traces_are_reported_by_correlation_and_say_why(
    recording: Callable[[str], RecordingStore], tmp_path: Path
) -> None:
    page = report(recording("trace"), tmp_path)
    assert "bits/spike is not defined" in page
    assert "correlation, mean over units" in page


def test_a_recording_without_repeats_says_so(tiny_store: RecordingStore, tmp_path: Path) -> None:
    twin = build_config(
        TwinConfig,
        {"sampling_rate": 60.0, "convnet": {"type": "none"}, "linear": {"type": "low_rank"}},
        "test",
    ).build(tiny_store.spec)
    result = evaluate(twin.eval(), tiny_store, progress=False)
    page = write_report(twin, tiny_store, result, tmp_path).read_text()
    assert "No stimulus was repeated in the test split" in page
    assert "one presentation" in page


@pytest.mark.parametrize(
    "damaged",
    [
        HISTORY + "40,0.4\n",
        HISTORY.replace("0.5,0.3", "0.5,o.3"),
        HISTORY.replace("validation_loss", "loss"),
        HISTORY + "40,0.4,0.5,0.3,0.0,1.050,0.4,0.5,0.3,0.0,1.0\n",
        HISTORY + '40,"0.4\n',
    ],
)
def test_a_damaged_history_is_named_with_the_remedy(
    damaged: str, tiny_store: RecordingStore, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "metrics.csv").write_text(damaged)
    with pytest.raises(DataError, match=r"metrics\.csv: is no history.*Delete it, or train again"):
        report(tiny_store, tmp_path, core="none")


def test_a_section_of_ones_own_is_added_with_one_line_and_stands_where_it_is_named(
    tiny_store: RecordingStore, tmp_path: Path
) -> None:
    def weather(shown: Shown) -> Section:
        return Section(
            "Weather & units", f"<p>dry, {shown.result.overall.n_units} units</p>", anchor="weather"
        )

    def nothing(shown: Shown) -> None:
        return None

    twin = tiny_twin(tiny_store, core="none")
    result = evaluate(twin, tiny_store, progress=False)
    page = write_report(
        twin, tiny_store, result, tmp_path, sections=(*SECTIONS, nothing, weather)
    ).read_text()
    told = '<section id="weather">\n<h2>Weather &amp; units</h2>\n<p>dry, 8 units</p>\n</section>'
    assert result.overall.n_units == 8
    assert page.index("<h2>Configuration and provenance</h2>") < page.index(told)
    only = write_report(twin, tiny_store, result, tmp_path, sections=(weather,)).read_text()
    assert re.findall("<h2>(.*?)</h2>", only) == ["Weather &amp; units"]


def test_the_sections_stand_in_the_order_of_their_tuple(page: str) -> None:
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "What it saw, and what the twin says",
        "Responses to repeated stimuli",
        "Every unit",
        "Receptive fields",
        "Attention",
        "Training",
        "Tables",
        "Configuration and provenance",
    ]
