-- The last checkpoint that the coordinator has of a step: what its next attempt goes on from on whatever worker. Its
-- content lies in a folder of its own and goes with the row.
CREATE TABLE checkpoints (
    step_id     INTEGER PRIMARY KEY REFERENCES steps (id),
    attempt     INTEGER NOT NULL,               -- that made it
    iteration   INTEGER NOT NULL,
    kind        TEXT    NOT NULL,               -- of what led to it
    hash        TEXT    NOT NULL,
    bytes       INTEGER NOT NULL,
    saved_at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX checkpoints_by_hash ON checkpoints (hash);
