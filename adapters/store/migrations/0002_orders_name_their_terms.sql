-- Orders now say what terms they put up with. Older ones were signed for contracts that are no longer bound to: nobody can open them.
DELETE FROM trade_order WHERE instr(document, '"min_pledge_bps"') = 0;
