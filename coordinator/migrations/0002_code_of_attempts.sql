-- The program that an attempt was made by, as it said when it started: experiment_spec::code::CodeVersion.
ALTER TABLE attempts ADD COLUMN code_json TEXT; -- NULL: not started, or from before this step
