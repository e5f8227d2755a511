-- The worker on which the attempt before failed in a way that another worker may not; NULL: none.
ALTER TABLE steps ADD COLUMN shuns INTEGER REFERENCES workers (id);
-- A worker on which too much failed gets nothing until this time; NULL: it gets what comes.
ALTER TABLE workers ADD COLUMN aside_until_ms INTEGER;
ALTER TABLE workers ADD COLUMN aside_reason TEXT;
-- 1: a user drains it, so it gets nothing new until that is undone.
ALTER TABLE workers ADD COLUMN drained INTEGER NOT NULL DEFAULT 0;
