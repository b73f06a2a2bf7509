"""Options of the core's objectives, and what each needs. No torch here."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from dagsdk.objectives.parts import Needs


@frozen(kw_only=True)
class DetailedBalanceOptions:
    """Options of `dag-db` (arXiv 2406.00633, section 3.1 and appendix).

    beta: β, how strongly the target p(x) ∝ exp(β r(x)) prefers high rewards.
    beta_warmup: share of the epochs over which β rises linearly from 0; 0 means β from the start.
    forward_looking: whether log F of a state contains the reward at its x̂_0, as in the paper; without it the
        state flow has to learn all of log F, and no intermediate state is decoded.
    next_gradient: share of its gradient that log F(x_t') receives; 1 is the paper's loss, whose square holds the
        spread of δ as well as its mean and so flattens log F, and less of it flattens less; at 0 training may diverge.
    regulariser: λ of λ · mean((output - output at sampling)²); 0 switches it off, and its cost.
    """

    beta: float = field(default=100.0, validator=gt(0))
    beta_warmup: float = field(default=0.5, validator=and_(ge(0), le(1)))
    forward_looking: bool = True
    next_gradient: float = field(default=1.0, validator=and_(ge(0), le(1)))
    regulariser: float = field(default=1.0, validator=ge(0))


@frozen(kw_only=True)
class KLOptions(DetailedBalanceOptions):
    """Options of `dag-kl`: those of `dag-db`, and

    kappa: κ, weight of the policy loss against the state flow's.
    clip_range: the ratio is clipped to 1 ± clip_range (per dimension under the mean reduction).
    advantage_clip: the standardised advantage is clamped to ± advantage_clip.
    """

    kappa: float = field(default=1.0, validator=gt(0))
    clip_range: float = field(default=1e-4, validator=gt(0))
    advantage_clip: float = field(default=5.0, validator=gt(0))


def dag_db_needs(options: DetailedBalanceOptions) -> frozenset[Needs]:
    """What is switched off is not needed, so that the engine keeps no outputs, and decodes no intermediate states."""
    needs = {Needs.STATE_FLOW}
    if options.forward_looking:
        needs.add(Needs.FORWARD_LOOKING)
    if options.regulariser:
        needs.add(Needs.OLD_OUTPUT)
    return frozenset(needs)


def dag_kl_needs(options: KLOptions) -> frozenset[Needs]:
    return dag_db_needs(options) | {Needs.OLD}
