"""Input and result of a calibration: the measured variants of a model, and the one to use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import ConfigDict

from millrace.schemas.frozen import Frozen

GAIN = 1.05  # times fp32's rate that another way must reach, or nothing is gained but a difference
# Ways in which a row's outputs depend on the other rows of its batch: a rerun may give others.
DEPENDS_ON_BATCH = (("onnxruntime", "int8"),)


class CalibrationRequest(Frozen):
    """Input of a calibration: the model, the device, and what the job pins."""

    folder: str
    digest: str
    device: str
    backend: str  # one of them, or auto
    precision: str  # one of them, or auto
    threads: int = 1
    expected_rows: int  # of the run, about
    slots: int  # workers that will compute at the same time
    converted: str  # a persistent folder for conversions of this model
    hides_values: bool = False  # report only the kind of an error: its text may quote a row


class Measurement(Frozen):
    """One backend and precision on the sample. Unmeasured values are None; ``why`` has the reason."""

    # A precision that failed has an infinite error. JSON has no infinity; null is no float.
    model_config = ConfigDict(ser_json_inf_nan="strings", allow_inf_nan=True)

    backend: str
    precision: str
    rows_per_s: float | None = None  # on one worker's cores
    batch_cost: int | None = None  # the size found good: padded tokens, or rows of equal shape
    load_s: float | None = None  # converting and loading, seconds
    errors: dict[str, float] = {}  # against fp32, by kind (udfs/calibration/tolerance.py)
    within: bool = False  # of the model's tolerance
    why: str = ""
    folder: str = ""  # what it read: the model's own, or one converted from it
    digest: str = ""  # of that folder


def merged(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return one measurement per variant, in order; of repeated ones the last."""
    return list({(one.backend, one.precision): one for one in measurements}.values())


def chosen(measured: Sequence[Measurement], backend: str, precision: str) -> int | None:
    """Return the index of the fastest allowed measurement within tolerance; None if there is none.

    The first is the reference; another one must be faster by `GAIN`. A pinned precision is exempt from
    the tolerance. A variant that depends on the batch is chosen only if the job pins its backend and its
    precision.
    """
    good = [
        place
        for place, one in enumerate(measured)
        if one.rows_per_s
        and backend in ("auto", one.backend)
        and precision in ("auto", one.precision)
        and (one.within or precision not in ("auto", "fp32"))
        and (
            place == 0
            or _is_repeatable(one)
            or (backend, precision) == (one.backend, one.precision)
        )
    ]
    if not good:
        return None
    rates = {place: measured[place].rows_per_s or 0.0 for place in good}
    best = max(good, key=lambda place: rates[place])
    return 0 if 0 in good and rates[best] < GAIN * rates[0] else best


def _is_repeatable(one: Measurement) -> bool:
    return (one.backend, one.precision) not in DEPENDS_ON_BATCH
