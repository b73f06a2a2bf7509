"""Options of the objective, and what it asks of the engine. No torch here."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from dagsdk.objectives.protocol import Needs

NEEDS = frozenset({Needs.SCORES, Needs.REWARD_GRADIENT, Needs.BACKWARD_SCORES, Needs.RESIDUAL, Needs.OUTPUT_GAP})


@frozen(kw_only=True)
class NablaDBOptions:
    """Options of `nabla-db` (arXiv 2412.07775; its published settings have beta 1e3 to 1e4, regulariser 1e3 to 2e3).

    beta: β, how strongly the target p(x) ∝ p_ref(x) exp(β r(x)) prefers high rewards; what is much depends on the
        scale of r.
    beta_warmup: share of the epochs over which β rises linearly from 0; 0 means β from the start.
    reverse: weight of the reverse loss, from which g_φ learns what is left of the flow; 0 leaves g_φ out, and its cost:
        the policy then follows the reward's gradient alone.
    terminal: weight of ‖g_φ(x_0)‖², by which nothing is left at the end.
    weighting: p; the losses of a transition are multiplied by τ^2p, τ² the variance of x_t' given x_t and x_0, so that
        late steps, whose scores are large, do not count for all. 0 is as published; 1 weighs like a KL divergence;
        with 2, what is compared is means.
    gradient_clip: where the norm of ∇ r of a state is larger, it is scaled down to this; 0 leaves it as it is.
    regulariser: λ of λ · mean((output - output at sampling)²); 0 switches it off, and its cost.
    """

    beta: float = field(default=1e4, validator=gt(0))
    beta_warmup: float = field(default=0.0, validator=and_(ge(0), le(1)))
    reverse: float = field(default=1.0, validator=ge(0))
    terminal: float = field(default=1.0, validator=ge(0))
    weighting: float = field(default=0.0, validator=and_(ge(0), le(2)))
    gradient_clip: float = field(default=0.0, validator=ge(0))
    regulariser: float = field(default=2e3, validator=ge(0))


def unneeded(options: NablaDBOptions) -> frozenset[Needs]:
    """Without a reverse loss nothing would hold g_φ to be a flow: it could take up the reward in the policy's place."""
    unused = set() if options.reverse else {Needs.BACKWARD_SCORES, Needs.RESIDUAL}
    return frozenset(unused if options.regulariser else unused | {Needs.OUTPUT_GAP})
