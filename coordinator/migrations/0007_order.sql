-- Order of work. A step's place in the queue follows from the submissions that ask for it, so it is not stored.
ALTER TABLE submissions ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE submissions ADD COLUMN paused_at_ms INTEGER;               -- NULL: it is not paused
ALTER TABLE submission_steps ADD COLUMN round INTEGER NOT NULL DEFAULT 0; -- pass over the seeds
ALTER TABLE steps ADD COLUMN expected_ms INTEGER;                      -- from like steps; NULL: none was known
ALTER TABLE steps ADD COLUMN priority INTEGER;                         -- NULL: that of the submissions
ALTER TABLE steps ADD COLUMN paused_at_ms INTEGER;                     -- NULL: it is not paused by itself
DROP INDEX steps_live;
ALTER TABLE steps DROP COLUMN order_submission;
ALTER TABLE steps DROP COLUMN order_position;
CREATE INDEX steps_live ON steps (id) WHERE state IN ('queued', 'assigned', 'running');
