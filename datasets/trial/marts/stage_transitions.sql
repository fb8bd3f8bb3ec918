-- title: Stages from visit to visit
-- description: How the stage of the disease changes from one visit of a patient to the next: how
--   often, which share of the visits at the first stage, and after how many days.
WITH steps AS (
    SELECT
        stage,
        lead(stage) OVER (PARTITION BY id ORDER BY day) AS next_stage,
        lead(day) OVER (PARTITION BY id ORDER BY day) - day AS days
    FROM visits
)
SELECT
    stage,
    next_stage,
    count(*) AS transitions,
    count(*) / sum(count(*)) OVER (PARTITION BY stage) AS share_of_stage,
    avg(days) AS average_days
FROM steps
WHERE stage IS NOT NULL AND next_stage IS NOT NULL
GROUP BY stage, next_stage
ORDER BY stage, next_stage
