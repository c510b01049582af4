-- Each revocation by itself, as it was signed, with the salt whose mark it has; they only ever grow.

CREATE TABLE notices (
    group_id INTEGER NOT NULL REFERENCES groups (id),
    number   INTEGER NOT NULL,
    bytes    BLOB NOT NULL,
    salt     BLOB NOT NULL,
    PRIMARY KEY (group_id, number)
) STRICT, WITHOUT ROWID;
