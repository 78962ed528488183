"""Paper positions marked to market, with their exits."""

from alembic import op

revision = "0008"
down_revision = "0007"

POSITIONS = """
alter table positions
    add column marked_at timestamptz,
    add column highest_bid numeric(6, 4) check (highest_bid > 0 and highest_bid < 1),
    add column exit_reason text
        check (exit_reason in ('take_profit', 'stop', 'trailing', 'before_expiry', 'time')),
    add column exit_price numeric(6, 4) check (exit_price > 0 and exit_price < 1),
    add column exit_fee_micro_usd bigint check (exit_fee_micro_usd >= 0),
    add constraint positions_marked check (marked_at >= opened_at and (highest_bid is null or marked_at is not null)),
    add constraint positions_exit_whole check (num_nulls(exit_reason, exit_price, exit_fee_micro_usd) in (0, 3)),
    add constraint positions_exit_paid check (
        exit_reason is null
        or payout_micro_usd is not null and payout_micro_usd = exit_price * contracts * 1000000 - exit_fee_micro_usd
    );
create table position_marks (
    position_id bigint not null references positions,
    marked_at timestamptz not null,
    bid numeric(6, 4) check (bid > 0 and bid < 1),
    value_micro_usd bigint check (value_micro_usd > 0),
    unrealised_micro_usd bigint,
    primary key (position_id, marked_at),
    check (num_nulls(bid, value_micro_usd, unrealised_micro_usd) in (0, 3))
);
alter table trade_log drop constraint trade_log_kind_check;
alter table trade_log add constraint trade_log_kind_check check (kind in ('open', 'settle', 'correct', 'exit'));
alter table trade_log add constraint trade_log_exit_is_no_settlement check (kind <> 'exit' or resolution_id is null);
create unique index trade_log_one_exit on trade_log (position_id) where kind = 'exit';
"""

# what knows no exits holds every position to its settlement, so exited ones are open again, their proceeds taken back
WITHOUT_EXITS = """
delete from trade_log where kind = 'exit';
drop index trade_log_one_exit;
alter table trade_log drop constraint trade_log_exit_is_no_settlement, drop constraint trade_log_kind_check;
alter table trade_log add constraint trade_log_kind_check check (kind in ('open', 'settle', 'correct'));
drop table position_marks;
alter table positions drop constraint positions_marked, drop constraint positions_exit_whole,
    drop constraint positions_exit_paid;
update positions set closed_at = null, payout_micro_usd = null where exit_reason is not null;
alter table positions drop column marked_at, drop column highest_bid, drop column exit_reason, drop column exit_price,
    drop column exit_fee_micro_usd;
"""


def upgrade() -> None:
    op.execute(POSITIONS)


def downgrade() -> None:
    op.execute(WITHOUT_EXITS)
