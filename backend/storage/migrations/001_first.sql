-- A job is one row from the moment it is accepted until it is pruned from the history.
-- `number` has no type on purpose: an integer priority must come back as an integer.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    number NOT NULL,
    state TEXT NOT NULL,              -- pending | running | success | error | interrupted
    client TEXT,
    prompt TEXT NOT NULL,             -- JSON object, casts of the validation written back
    extra TEXT NOT NULL,              -- JSON object, without secrets
    targets TEXT NOT NULL,            -- JSON array
    attempts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,            -- seconds since 1970
    finished INTEGER,                 -- position in the history, NULL while queued
    finished_at REAL,
    outputs TEXT,                     -- JSON object
    meta TEXT,                        -- JSON object
    status TEXT,                      -- JSON object
    error TEXT                        -- one sentence
);
CREATE UNIQUE INDEX jobs_finished ON jobs(finished) WHERE finished IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs(state) WHERE finished IS NULL;

-- One row per flush: numbers first..last, body is a JSON array of [number, job, client, event].
CREATE TABLE events (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    at REAL NOT NULL,
    body BLOB NOT NULL                -- zlib
);
CREATE INDEX events_last ON events(last);

CREATE TABLE settings (
    user TEXT NOT NULL,
    id TEXT NOT NULL,
    value TEXT NOT NULL,              -- JSON
    PRIMARY KEY (user, id)
) WITHOUT ROWID;

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) WITHOUT ROWID;
