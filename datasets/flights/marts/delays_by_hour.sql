-- title: Delays by airport and hour
-- description: Flights from each of New York's airports by the hour of the planned departure: the
--   share that was cancelled, how late the others left, in minutes, and how long the worst tenth waited.
SELECT
    flights.origin,
    airports.name AS airport,
    flights.hour,
    count(*) AS flights,
    avg(CASE WHEN flights.dep_delay IS NULL THEN 1 ELSE 0 END) AS share_cancelled,
    avg(flights.dep_delay) AS average_dep_delay,
    quantile_cont(flights.dep_delay, 0.9) AS dep_delay_of_worst_tenth,
    avg(CASE WHEN flights.dep_delay > 15 THEN 1 WHEN flights.dep_delay <= 15 THEN 0 END) AS share_late
FROM flights
JOIN airports ON airports.faa = flights.origin
GROUP BY ALL
ORDER BY origin, hour
