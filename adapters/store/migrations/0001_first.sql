-- One row: the last revision given to any document. Revisions never repeat, so a deleted and rewritten document is never mistaken for the old one.
CREATE TABLE revision (last INTEGER NOT NULL);
INSERT INTO revision (last) VALUES (0);

CREATE TABLE document (
    collection TEXT NOT NULL,
    key        TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    value      TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID;

CREATE TABLE journal_entry (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    key         TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    payload     TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('open', 'completed', 'unwound', 'abandoned')),
    opened_at   INTEGER NOT NULL DEFAULT (unixepoch()),
    finished_at INTEGER
);
CREATE INDEX journal_entry_open ON journal_entry (id) WHERE state = 'open';

CREATE TABLE journal_step (
    entry INTEGER NOT NULL REFERENCES journal_entry (id) ON DELETE CASCADE,
    seq   INTEGER NOT NULL,
    step  TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intended', 'done', 'undone')),
    data  TEXT NOT NULL,
    PRIMARY KEY (entry, seq)
) WITHOUT ROWID;

CREATE TABLE cursor (
    name  TEXT PRIMARY KEY,
    block INTEGER NOT NULL,
    hash  BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE offer (
    hash        BLOB PRIMARY KEY,
    provider    BLOB NOT NULL,
    valid_until INTEGER NOT NULL,
    document    TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('live', 'cancelled', 'expired')),
    seq         INTEGER NOT NULL UNIQUE
) WITHOUT ROWID;
CREATE INDEX offer_live ON offer (seq) WHERE state = 'live';
CREATE INDEX offer_provider ON offer (provider);

CREATE TABLE trade_order (
    hash        BLOB PRIMARY KEY,
    renter      BLOB NOT NULL,
    valid_until INTEGER NOT NULL,
    document    TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'opening', 'filled', 'cancelled', 'expired', 'refused')),
    detail      TEXT NOT NULL,
    seq         INTEGER NOT NULL UNIQUE
) WITHOUT ROWID;
CREATE INDEX trade_order_live ON trade_order (seq) WHERE state IN ('waiting', 'opening');
CREATE INDEX trade_order_renter ON trade_order (renter, seq);
