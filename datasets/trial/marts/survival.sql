-- title: Survival by arm
-- description: By treatment and year since registration: patients still followed as the year begins,
--   those who die in it, those who leave it otherwise, the share of those followed who live through
--   the year, and of all patients through all years so far (a life table: who leaves counts half).
WITH years AS (
    SELECT
        CASE patients.trt WHEN 1 THEN 'D-penicillamine' WHEN 0 THEN 'placebo' END AS arm,
        CAST(since.year AS INTEGER) AS year,
        count(*) AS followed,
        count(CASE WHEN patients.status = 2 AND patients.futime < 365.25 * (since.year + 1) THEN 1 END)
            AS deaths,
        count(CASE WHEN patients.status <> 2 AND patients.futime < 365.25 * (since.year + 1) THEN 1 END)
            AS leaving
    FROM patients
    JOIN range(0, 15) AS since(year) ON patients.futime >= 365.25 * since.year
    GROUP BY ALL
)
SELECT
    arm,
    year,
    followed,
    deaths,
    leaving,
    1 - deaths / (followed - leaving / 2) AS share_surviving_year,
    product(1 - deaths / (followed - leaving / 2)) OVER (PARTITION BY arm ORDER BY year) AS share_surviving
FROM years
ORDER BY arm, year
