"""What was measured of a model before a run: every way to compute it, and the one to take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import ConfigDict

from schemas.contract import Frozen

GAIN = 1.05  # times fp32's rate that another way must reach, or nothing is gained but a difference


class Request(Frozen):
    """What is asked of a calibration."""

    folder: str
    digest: str
    device: str
    backend: str  # one of them, or auto
    precision: str  # one of them, or auto
    threads: int = 1
    expected_rows: int  # of the run, about
    slots: int  # workers that will compute at the same time
    converted: str  # a folder for what is converted from this model; kept
    hides_values: bool = False  # of an error only its kind is told: its text may quote a row


class Measurement(Frozen):
    """One backend and precision on the sample. What was not measured is None, and ``why`` says why."""

    model_config = ConfigDict(ser_json_inf_nan="strings")  # JSON has no infinity; null is no float

    backend: str
    precision: str
    rows_per_s: float | None = None  # on one worker's cores
    batch_cost: int | None = None  # the size found good: padded tokens, or rows of equal shape
    load_s: float | None = None  # converting and loading, seconds
    errors: dict[str, float] = {}  # against fp32, by kind (udfs/tolerance.py)
    within: bool = False  # of the model's tolerance
    why: str = ""
    folder: str = ""  # what it read: the model's own, or one converted from it
    digest: str = ""  # of that folder


def merged(told: Iterable[Measurement]) -> list[Measurement]:
    """One measurement a way, in the order they came; of a way that was measured again, the last."""
    return list({(one.backend, one.precision): one for one in told}.values())


def chosen(measured: Sequence[Measurement], backend: str, precision: str) -> int | None:
    """The place of the fastest that was asked for and is within tolerance; None where there is none.

    The first is the reference; it gives way only for a gain. A precision that the job pins is
    taken as it is, tolerance or not.
    """
    good = [
        place
        for place, one in enumerate(measured)
        if one.rows_per_s
        and backend in ("auto", one.backend)
        and precision in ("auto", one.precision)
        and (one.within or precision not in ("auto", "fp32"))
    ]
    if not good:
        return None
    rates = {place: measured[place].rows_per_s or 0.0 for place in good}
    best = max(good, key=lambda place: rates[place])
    return 0 if 0 in good and rates[best] < GAIN * rates[0] else best
