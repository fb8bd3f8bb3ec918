-- title: Patients by arm
-- description: Patients by treatment and sex: how many there are, how old, how long they were
--   followed, how many visits they made, and how many died or got a transplant.
WITH made AS (
    SELECT id, count(*) AS visits
    FROM visits
    GROUP BY id
)
SELECT
    CASE patients.trt WHEN 1 THEN 'D-penicillamine' WHEN 0 THEN 'placebo' END AS arm,
    patients.sex,
    count(*) AS patients,
    avg(patients.age) AS average_age,
    avg(patients.futime / 365.25) AS average_years_followed,
    avg(coalesce(made.visits, 0)) AS average_visits,
    count(CASE WHEN patients.status = 2 THEN 1 END) AS deaths,
    count(CASE WHEN patients.status = 1 THEN 1 END) AS transplants,
    avg(CASE WHEN patients.status = 2 THEN 1 ELSE 0 END) AS share_died
FROM patients
LEFT JOIN made ON made.id = patients.id
GROUP BY ALL
ORDER BY arm, sex
