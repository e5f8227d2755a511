-- Scores are read from the exact text of a result; only what lists of runs show is kept beside it.
ALTER TABLE results ADD COLUMN bi_modal_average REAL; -- without normalisation; NULL: it has none
UPDATE results SET bi_modal_average = (
    SELECT AVG(map) FROM scores WHERE scores.step_id = results.step_id AND normalisation = 'none'
        AND task IN ('image->text', 'text->image') HAVING COUNT(*) = 2
);
DROP TABLE scores;

-- The same scores by cell, for people with SQL.
CREATE VIEW scores AS
SELECT results.step_id, one.value ->> 'task' AS task, one.value ->> 'normalisation' AS normalisation,
       one.value ->> 'map' AS map, one.value ->> 'tied_share' AS tied_share
FROM results, json_each(CASE WHEN json_valid(results.scores_json) THEN results.scores_json ELSE '{}' END, '$.scores') AS one;
