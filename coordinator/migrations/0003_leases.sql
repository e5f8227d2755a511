-- Token of the lease under which the attempt was assigned: the 64 bits of an unsigned number.
ALTER TABLE attempts ADD COLUMN lease_token INTEGER NOT NULL DEFAULT 0; -- 0: from before this step
