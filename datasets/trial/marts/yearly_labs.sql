-- title: Visits and labs by arm and year
-- description: By treatment and year since registration: visits, the patients who made them, and what
--   was measured on average. Only those still followed are seen, so later years are of the healthier.
SELECT
    CASE patients.trt WHEN 1 THEN 'D-penicillamine' WHEN 0 THEN 'placebo' END AS arm,
    CAST(floor(visits.day / 365.25) AS INTEGER) AS year,
    count(*) AS visits,
    count(DISTINCT visits.id) AS patients,
    avg(visits.bili) AS average_bili,
    avg(visits.albumin) AS average_albumin,
    avg(visits.protime) AS average_protime
FROM visits
JOIN patients ON patients.id = visits.id
GROUP BY ALL
ORDER BY arm, year
