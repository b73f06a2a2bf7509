"""Options of the objective, and what it needs. No torch here."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from dagsdk import Needs


@frozen(kw_only=True)
class NablaDBOptions:
    """Options of `nabla-db` (arXiv 2412.07775; its published settings have beta 1e3 to 1e4, regulariser 1e3 to 2e3).

    beta: β, how strongly the target p(x) ∝ p_ref(x) exp(β r(x)) prefers high rewards; its unit is 1 / reward.
    beta_warmup: share of the epochs over which β rises linearly from 0; 0 means β from the start.
    reverse: weight of the reverse loss, from which g_φ learns the rest of the flow's gradient; 0 leaves g_φ out, and
        its cost: the policy then follows the reward's gradient alone.
    terminal: weight of ‖g_φ(x_0)‖², which keeps g_φ at 0 at the end.
    weighting: p; the losses of a transition are multiplied by τ^2p, τ² the variance of x_t' given x_t and x_0, so that
        the late steps, whose scores are large, do not dominate. 0 is as published; 1 weighs like a KL divergence;
        2 compares means.
    gradient_clip: a ∇ r of a state whose norm is larger is scaled down to this norm; 0 switches the clip off.
    regulariser: λ of λ · mean((output - output at sampling)²); 0 switches it off, and its cost.
    """

    beta: float = field(default=1e4, validator=gt(0))
    beta_warmup: float = field(default=0.0, validator=and_(ge(0), le(1)))
    reverse: float = field(default=1.0, validator=ge(0))
    terminal: float = field(default=1.0, validator=ge(0))
    weighting: float = field(default=0.0, validator=and_(ge(0), le(2)))
    gradient_clip: float = field(default=0.0, validator=ge(0))
    regulariser: float = field(default=2e3, validator=ge(0))


def nabla_db_needs(options: NablaDBOptions) -> frozenset[Needs]:
    """Without a reverse loss there is no g_φ: nothing would make it a flow, and it could absorb the reward itself."""
    needs = {Needs.SCORES, Needs.REWARD_GRADIENT}
    if options.reverse:
        needs |= {Needs.BACKWARD_SCORES, Needs.FLOW_GRADIENT}
    if options.regulariser:
        needs.add(Needs.OLD_OUTPUT)
    return frozenset(needs)
