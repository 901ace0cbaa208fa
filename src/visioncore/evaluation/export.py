"""A twin's predictions of a split as a file that `KeptPredictions` reads, and other programs too."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxtyping import Float32
from numpy import ndarray

from visioncore.data.store import RecordingStore, SessionStore
from visioncore.evaluation.kept_predictions import PredictionsHeader, write_predictions
from visioncore.evaluation.prediction import Behaviour, BlockPredictor, check_fit
from visioncore.predictor import Predictor
from visioncore.recording import Split


def export_predictions(
    path: Path,
    twin: Predictor,
    store: RecordingStore,
    split: Split = "test",
    behaviour: Behaviour = "recorded",
) -> None:
    """Write what `twin` predicts of every block of a split, burn-in included, into an NPZ file.

    Raises:
        DataError: the store is not like the data that the twin was made for.
        CheckpointError: the twin lacks sessions or units of the store, or predicts NaN.
    """
    store = check_fit(twin, store)
    header = PredictionsHeader(
        data_fingerprint=store.fingerprint,
        seed=twin.provenance.seed or 0,
        causal=True,
        behaviour=behaviour if twin.uses_behaviour else "none",
        stride=twin.stride,
        first_predicted_bin=twin.first_predicted_bin,
        provenance=twin.provenance,
    )

    def blocks_of(session: SessionStore) -> Iterator[tuple[int, Float32[ndarray, "time units"]]]:
        predict = BlockPredictor(twin, session, behaviour=behaviour)
        for block in session.blocks_in(split):
            yield block.start, predict.rates(block)

    sessions: Iterator[tuple[str, Sequence[str], Iterator[tuple[int, ndarray]]]] = (
        (name, session.unit_ids, blocks_of(session)) for name, session in store.sessions.items()
    )
    write_predictions(path, header, sessions)
