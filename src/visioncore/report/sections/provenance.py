"""Where the twin comes from, in full."""

import json

from visioncore.config import dump_config
from visioncore.model import Twin
from visioncore.report.sections.base import Section, Shown, rendered


def provenance(shown: Shown) -> Section:
    """The experiment, the model, how the twin was made, and the settings of the evaluation."""
    experiment, twin = shown.run_dir / "experiment.yaml", shown.twin
    made = {key: value for key, value in twin.provenance.to_json().items() if key != "experiment"}
    html = rendered(
        "provenance",
        shown,
        experiment_yaml=experiment.read_text(encoding="utf-8") if experiment.exists() else None,
        model_yaml=json.dumps(dump_config(twin.config), indent=2) if isinstance(twin, Twin) else None,
        provenance=json.dumps(made, indent=2, sort_keys=True),
        settings_json=json.dumps(shown.result.settings.to_json(), indent=2),
    )
    return Section("Configuration and provenance", html)
