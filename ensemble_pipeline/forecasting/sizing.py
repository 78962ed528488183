"""What a belief is worth at a price, and how much of the bankroll to put on it.

Belongs here: arithmetic of one binary contract that pays 1 dollar. Does not: limits per market, event and day
(ensemble), fees (venues). Everything is said of the side that is bought: `p_win` is the probability that it pays.
"""

from ensemble_pipeline.forecasting.arrays import fraction


def edge(p_win: float, cost: float) -> float:
    """Expected profit of one contract, in dollars: ``p - c``.

    Args:
        p_win: Probability that the bought side pays, in [0, 1].
        cost: All-in price of one contract in dollars, fee and half spread included, within (0, 1).

    Returns:
        A number in (-1, 1); negative where the price asks for more than the belief.

    Raises:
        InputError: an argument is out of range.

    >>> edge(0.75, 0.5)
    0.25
    """
    return fraction(p_win, "p_win") - fraction(cost, "cost", is_open=True)


def kelly_fraction(p_win: float, cost: float) -> float:
    """Share of the bankroll that grows it fastest if the belief is right: ``max(0, (p - c) / (1 - c))``.

    Args:
        p_win: Probability that the bought side pays, in [0, 1].
        cost: All-in price of one contract in dollars, fee and half spread included, within (0, 1).

    Returns:
        A share in [0, 1]; 0 where there is no edge.

    Raises:
        InputError: an argument is out of range.

    Source: Kelly 1956, Bell System Technical Journal 35(4), for a bet that pays ``1/c`` for 1.

    >>> kelly_fraction(0.75, 0.5), kelly_fraction(0.25, 0.5)
    (0.5, 0.0)
    """
    return max(0.0, edge(p_win, cost) / (1 - cost))


def stake_fraction(p_win: float, cost: float, kelly_share: float, uncertainty: float) -> float:
    """Share of the bankroll to stake: ``λ (1 - u) · kelly_fraction(p, c)``.

    Give it a probability already anchored to the price: on a raw model's probability even a quarter of Kelly loses
    money. λ between 1/4 and 1/2 then covers what the model of the world leaves out.

    Args:
        p_win: Probability that the bought side pays, in [0, 1].
        cost: All-in price of one contract in dollars, fee and half spread included, within (0, 1).
        kelly_share: λ, the share of full Kelly to take, in [0, 1].
        uncertainty: u, in [0, 1]; more of it never raises the stake, 1 stakes nothing.

    Returns:
        A share in [0, 1], never above full Kelly.

    Raises:
        InputError: an argument is out of range.

    Source: fractional Kelly after MacLean, Thorp and Ziemba 2010, Quantitative Finance 10(7).

    >>> stake_fraction(0.75, 0.5, 0.5, 0.5)
    0.125
    """
    share = fraction(kelly_share, "kelly_share") * (1 - fraction(uncertainty, "uncertainty"))
    return share * kelly_fraction(p_win, cost)
