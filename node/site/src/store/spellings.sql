-- Members take a user's name letter by letter: a name that was revoked in another spelling can be revoked as well.

CREATE TABLE spelled_users (
    group_id INTEGER NOT NULL REFERENCES groups (id),
    user     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (group_id, user)
) STRICT, WITHOUT ROWID;
INSERT INTO spelled_users (group_id, user, at) SELECT group_id, user, at FROM revoked_users;
DROP TABLE revoked_users;
ALTER TABLE spelled_users RENAME TO revoked_users;
CREATE INDEX revoked_users_by_name ON revoked_users (group_id, user COLLATE NOCASE);
