-- What is past its validity is found by its last second, whether it still has to expire or may be forgotten.
CREATE INDEX offer_valid_until ON offer (valid_until);
CREATE INDEX trade_order_valid_until ON trade_order (valid_until);
