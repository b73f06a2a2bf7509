"""Options of the core's models. No torch here."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, gt


@frozen(kw_only=True)
class VectorOptions:
    """Options of `vector`.

    folder: of a saved model (`Vector.save_network`); empty means a new one, pretrained on the nine-mode data set.
    width: hidden width of the network.
    pretrain: batches of 256 that a new one is pretrained for.
    learning_rate: of that pretraining; it falls to 0 as a half cosine.
    log_snr: log α²/σ² at the noisy and at the clean end of its path.
    """

    folder: str = ""
    width: int = field(default=192, validator=ge(1))
    pretrain: int = field(default=1500, validator=ge(0))
    learning_rate: float = field(default=2e-3, validator=gt(0))
    log_snr: tuple[float, float] = (-7.0, 5.0)
