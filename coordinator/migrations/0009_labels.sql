-- What workers call themselves, as a JSON list: steps may ask for it.
ALTER TABLE workers ADD COLUMN labels_json TEXT NOT NULL DEFAULT '[]';
