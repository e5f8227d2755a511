-- What runs leave beside their scores goes by the keep rules of the coordinator; the row stays and says so.
ALTER TABLE artifacts ADD COLUMN accepted_at_ms INTEGER NOT NULL DEFAULT 0; -- when its step succeeded
ALTER TABLE artifacts ADD COLUMN removed_at_ms INTEGER;                     -- NULL: its content is here
UPDATE artifacts SET accepted_at_ms = (SELECT changed_at_ms FROM steps WHERE steps.id = artifacts.step_id);
CREATE INDEX artifacts_kept ON artifacts (name, accepted_at_ms) WHERE removed_at_ms IS NULL;
CREATE INDEX artifacts_by_hash ON artifacts (hash) WHERE removed_at_ms IS NULL;
