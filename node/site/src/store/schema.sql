-- Times are seconds since 1970 (UTC). Tokens are kept as their SHA-256, keys and secrets sealed.

CREATE TABLE site (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password TEXT NOT NULL,
    made     INTEGER NOT NULL
) STRICT;

-- Who is logged in.
CREATE TABLE logins (
    token   BLOB PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts (id),
    made    INTEGER NOT NULL,
    seen    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX logins_of_account ON logins (account, made);

CREATE TABLE groups (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE COLLATE NOCASE,
    certificate BLOB NOT NULL,
    key         BLOB NOT NULL,
    secret      BLOB NOT NULL,
    ends        INTEGER NOT NULL,
    policy      TEXT NOT NULL CHECK (policy IN ('sign', 'first', 'ask')),
    first       INTEGER NOT NULL,
    made        INTEGER NOT NULL,
    held        INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE members (
    group_id INTEGER NOT NULL REFERENCES groups (id),
    account  INTEGER NOT NULL REFERENCES accounts (id),
    name     TEXT NOT NULL COLLATE NOCASE,
    admin    INTEGER NOT NULL DEFAULT 0,
    state    TEXT NOT NULL CHECK (state IN ('asking', 'member', 'refused', 'left', 'revoked')),
    key      BLOB,
    since    INTEGER NOT NULL,
    PRIMARY KEY (group_id, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_name ON members (group_id, state, name);
CREATE INDEX members_of_account ON members (account);

CREATE TABLE nodes (
    id       INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL REFERENCES groups (id),
    account  INTEGER NOT NULL REFERENCES accounts (id),
    address  TEXT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('waiting', 'admitted', 'refused', 'revoked', 'gone')),
    since    INTEGER NOT NULL,
    seen     INTEGER NOT NULL,
    UNIQUE (group_id, address)
) STRICT;
CREATE INDEX nodes_of_member ON nodes (group_id, account);
CREATE INDEX nodes_waiting ON nodes (group_id, id) WHERE state = 'waiting';

-- Every certificate that was ever signed.
CREATE TABLE certificates (
    id       INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL REFERENCES groups (id),
    serial   TEXT NOT NULL,
    node     INTEGER NOT NULL REFERENCES nodes (id),
    user     TEXT NOT NULL,
    made     INTEGER NOT NULL,
    ends     INTEGER NOT NULL,
    der      BLOB NOT NULL,
    UNIQUE (group_id, serial)
) STRICT;
CREATE INDEX certificates_of_node ON certificates (node, id);

-- Both only ever grow.
CREATE TABLE revoked_users (
    group_id INTEGER NOT NULL REFERENCES groups (id),
    user     TEXT NOT NULL COLLATE NOCASE,
    at       INTEGER NOT NULL,
    PRIMARY KEY (group_id, user)
) STRICT, WITHOUT ROWID;
CREATE TABLE revoked_serials (
    group_id INTEGER NOT NULL REFERENCES groups (id),
    serial   TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (group_id, serial)
) STRICT, WITHOUT ROWID;

-- The newest list of each group, as it was signed.
CREATE TABLE lists (
    group_id  INTEGER PRIMARY KEY REFERENCES groups (id),
    number    INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    text      TEXT NOT NULL,
    signature BLOB NOT NULL,
    x509      BLOB NOT NULL
) STRICT;

CREATE TABLE invitations (
    id       INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL REFERENCES groups (id),
    token    BLOB NOT NULL UNIQUE,
    maker    TEXT NOT NULL,
    uses     INTEGER NOT NULL,
    ends     INTEGER NOT NULL
) STRICT;
CREATE INDEX invitations_of_group ON invitations (group_id);

-- Links that fetch a member's file once.
CREATE TABLE links (
    token    BLOB PRIMARY KEY,
    group_id INTEGER NOT NULL REFERENCES groups (id),
    account  INTEGER NOT NULL REFERENCES accounts (id),
    ends     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was used within the time that a request is fresh.
CREATE TABLE nonces (
    group_id INTEGER NOT NULL,
    account  INTEGER NOT NULL,
    nonce    BLOB NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (group_id, account, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_by_time ON nonces (at);

CREATE TABLE audit (
    id       INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL REFERENCES groups (id),
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    act      TEXT NOT NULL,
    subject  TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_group ON audit (group_id, id);
