"""Operating modes by hand and by evidence, with expiry; the mode ``degraded``; positions sold in part."""

from alembic import op

revision = "0016"
down_revision = "0015"

# what was set before was set by hand
MODES = """
alter table operating_modes
    add column origin text not null default 'hand' check (origin in ('hand', 'evidence')),
    add column expires_at timestamptz check (expires_at > since),
    add column better_since timestamptz check (better_since >= since),
    add column readings jsonb,
    add constraint operating_modes_expire_by_hand check (expires_at is null or origin = 'hand'),
    add constraint operating_modes_soften_by_evidence
        check (origin = 'evidence' or num_nonnulls(better_since, readings) = 0),
    drop constraint operating_modes_mode_check,
    add constraint operating_modes_mode_check
        check (mode in ('normal', 'degraded', 'conservative', 'minimal', 'suspended'));
alter table operating_modes alter column origin drop default;
alter table venue_looks drop constraint venue_looks_subject_check;
alter table venue_looks add constraint venue_looks_subject_check
    check (subject in ('markets', 'settlements', 'quotes'));
create index operating_modes_origin on operating_modes (origin, mode_id desc);
alter table decision_contexts drop constraint decision_contexts_operating_mode_check;
alter table decision_contexts add constraint decision_contexts_operating_mode_check
    check (operating_mode in ('normal', 'degraded', 'conservative', 'minimal', 'suspended'));
"""

# what knows no expiry would keep what was to expire for ever, and knows nothing of evidence
WITHOUT_MODES = """
delete from operating_modes where origin = 'evidence' or expires_at is not null;
update operating_modes set mode = 'conservative' where mode = 'degraded';
update decision_contexts set operating_mode = 'conservative' where operating_mode = 'degraded';
delete from venue_looks where subject = 'quotes';
alter table venue_looks drop constraint venue_looks_subject_check;
alter table venue_looks add constraint venue_looks_subject_check check (subject in ('markets', 'settlements'));
drop index operating_modes_origin;
alter table operating_modes
    drop constraint operating_modes_expire_by_hand, drop constraint operating_modes_soften_by_evidence,
    drop column origin, drop column expires_at, drop column better_since, drop column readings,
    drop constraint operating_modes_mode_check,
    add constraint operating_modes_mode_check check (mode in ('normal', 'conservative', 'minimal', 'suspended'));
alter table decision_contexts drop constraint decision_contexts_operating_mode_check;
alter table decision_contexts add constraint decision_contexts_operating_mode_check
    check (operating_mode in ('normal', 'conservative', 'minimal', 'suspended'));
"""

# a part that is sold is a position of its own, beside the rest of the one it was taken from
PARTS = """
alter table positions
    drop constraint positions_decision_id_key,
    add column part_of bigint references positions;
create unique index positions_decision on positions (decision_id) where part_of is null;
create index positions_parts on positions (part_of) where part_of is not null;
alter table trade_log drop constraint trade_log_kind_check;
alter table trade_log add constraint trade_log_kind_check
    check (kind in ('open', 'settle', 'correct', 'exit', 'split'));
"""

# what knows no parts holds every position as a whole: those sold in part are open again, their proceeds taken back
WITHOUT_PARTS = """
delete from trade_log t using positions p where p.position_id = t.position_id and (p.part_of is not null
    or t.kind <> 'open' and exists (select from positions s where s.part_of = p.position_id));
update positions p set contracts = p.contracts + s.contracts, cost_micro_usd = p.cost_micro_usd + s.cost,
    fee_micro_usd = p.fee_micro_usd + s.fee, closed_at = null, payout_micro_usd = null, exit_reason = null,
    exit_price = null, exit_fee_micro_usd = null
    from (select part_of, sum(contracts) as contracts, sum(cost_micro_usd) as cost, sum(fee_micro_usd) as fee
        from positions where part_of is not null group by 1) s
    where s.part_of = p.position_id;
delete from positions where part_of is not null;
drop index positions_decision;
alter table positions drop column part_of, add constraint positions_decision_id_key unique (decision_id);
alter table trade_log drop constraint trade_log_kind_check;
alter table trade_log add constraint trade_log_kind_check check (kind in ('open', 'settle', 'correct', 'exit'));
"""


def upgrade() -> None:
    op.execute(MODES)
    op.execute(PARTS)


def downgrade() -> None:
    op.execute(WITHOUT_PARTS)
    op.execute(WITHOUT_MODES)
