-- Of the steps that are like another one only those that succeeded are ever asked for: an index of these alone is not
-- written at every change of a state.
DROP INDEX steps_alike;
CREATE INDEX steps_alike ON steps (kind, method, data_set) WHERE state = 'succeeded';
