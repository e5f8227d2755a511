-- Submissions, their steps, the attempts of the steps, what they left, and the fleet.
-- Times are milliseconds since 1970-01-01 UTC. Append-only: a released migration is never edited.

CREATE TABLE submissions (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    name            TEXT    NOT NULL,
    file_name       TEXT    NOT NULL,
    yaml            TEXT    NOT NULL,
    text_hash       TEXT    NOT NULL,
    request_id      TEXT    UNIQUE,             -- NULL: the client sent none
    client_version  TEXT    NOT NULL,
    already_scored  INTEGER NOT NULL,           -- runs that were linked to a score when it came in
    created_at_ms   INTEGER NOT NULL,
    cancelled_at_ms INTEGER                     -- NULL: it is live
) STRICT;

CREATE INDEX submissions_by_name ON submissions (name, id);

-- A step belongs to every submission that asks for the same computation.
CREATE TABLE steps (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    kind             TEXT    NOT NULL CHECK (kind IN ('extraction', 'run')),
    fingerprint      TEXT    NOT NULL,
    nonce            INTEGER NOT NULL,          -- rises when a submission forces a computation again
    needs            INTEGER REFERENCES steps (id),
    method           TEXT    NOT NULL,          -- key of the method, or of the encoder
    data_set         TEXT    NOT NULL,
    seed             INTEGER NOT NULL,          -- the 64 bits of an unsigned number
    spec_json        TEXT    NOT NULL,
    resources_json   TEXT    NOT NULL,
    state            TEXT    NOT NULL
        CHECK (state IN ('queued', 'assigned', 'running', 'succeeded', 'failed', 'cancelled')),
    attempt          INTEGER NOT NULL,
    retries          INTEGER NOT NULL,          -- as submitted
    retries_left     INTEGER NOT NULL,
    not_before_ms    INTEGER NOT NULL,          -- back-off: not assigned before
    failure_kind     TEXT,                      -- of a failed step, which may never have had an attempt
    failure          TEXT,
    order_submission INTEGER NOT NULL,          -- place in the queue
    order_position   INTEGER NOT NULL,
    created_at_ms    INTEGER NOT NULL,
    changed_at_ms    INTEGER NOT NULL,
    UNIQUE (fingerprint, nonce)
) STRICT;

CREATE INDEX steps_live ON steps (order_submission, order_position)
    WHERE state IN ('queued', 'assigned', 'running');
CREATE INDEX steps_by_need ON steps (needs) WHERE needs IS NOT NULL;
CREATE INDEX steps_alike ON steps (kind, method, data_set, state);

CREATE TABLE submission_steps (
    submission_id INTEGER NOT NULL REFERENCES submissions (id),
    position      INTEGER NOT NULL,
    step_id       INTEGER NOT NULL REFERENCES steps (id),
    label         TEXT    NOT NULL,
    PRIMARY KEY (submission_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX submission_steps_by_step ON submission_steps (step_id, submission_id);

CREATE TABLE workers (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    name             TEXT    NOT NULL UNIQUE,
    host             TEXT    NOT NULL,
    cpus             INTEGER NOT NULL,
    gpus_json        TEXT    NOT NULL,
    memory_bytes     INTEGER NOT NULL,
    kind             TEXT    NOT NULL,
    program_version  TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('online', 'lost')),
    last_sequence    INTEGER NOT NULL,          -- reports up to here are in the store
    registered_at_ms INTEGER NOT NULL,
    last_seen_ms     INTEGER NOT NULL
) STRICT;

CREATE TABLE attempts (
    step_id              INTEGER NOT NULL REFERENCES steps (id),
    number               INTEGER NOT NULL,
    worker_id            INTEGER NOT NULL REFERENCES workers (id),
    cpus                 INTEGER NOT NULL,      -- what it was granted
    gpu_index            INTEGER,               -- NULL: none
    gpu_share_milli      INTEGER NOT NULL,
    memory_bytes         INTEGER NOT NULL,
    assigned_at_ms       INTEGER NOT NULL,
    started_at_ms        INTEGER,
    ended_at_ms          INTEGER,
    outcome              TEXT
        CHECK (outcome IN ('succeeded', 'failed', 'lost', 'cancelled', 'given-back')),
    failure_kind         TEXT,
    failure              TEXT,
    kind                 TEXT,
    seconds              REAL,
    from_iteration       INTEGER,
    checkpoint_iteration INTEGER,
    PRIMARY KEY (step_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_at_work ON attempts (worker_id) WHERE ended_at_ms IS NULL;

CREATE TABLE history (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    step_id  INTEGER NOT NULL REFERENCES steps (id),
    at_ms    INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    sentence TEXT    NOT NULL
) STRICT;

CREATE INDEX history_by_step ON history (step_id, id);

CREATE TABLE metrics (
    step_id   INTEGER NOT NULL REFERENCES steps (id),
    name      TEXT    NOT NULL,
    iteration INTEGER NOT NULL,
    value     REAL,                             -- NULL: not a number
    PRIMARY KEY (step_id, name, iteration)
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    step_id  INTEGER NOT NULL REFERENCES steps (id),
    position INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    stream   TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    PRIMARY KEY (step_id, position)
) STRICT, WITHOUT ROWID;

-- What a succeeded step left: the exact text, so that every number reads back to the same bits.
CREATE TABLE results (
    step_id     INTEGER PRIMARY KEY REFERENCES steps (id),
    attempt     INTEGER NOT NULL,
    scores_json TEXT    NOT NULL,
    seconds     REAL    NOT NULL
) STRICT;

-- The same scores by cell, for queries.
CREATE TABLE scores (
    step_id       INTEGER NOT NULL REFERENCES steps (id),
    task          TEXT    NOT NULL,
    normalisation TEXT    NOT NULL,
    map           REAL    NOT NULL,
    tied_share    REAL    NOT NULL,
    PRIMARY KEY (step_id, task, normalisation)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    step_id INTEGER NOT NULL REFERENCES steps (id),
    name    TEXT    NOT NULL,
    hash    TEXT    NOT NULL,
    bytes   INTEGER NOT NULL,
    PRIMARY KEY (step_id, name)
) STRICT, WITHOUT ROWID;
