-- title: Routes
-- description: Each route by its airports, the most flown first: flights, airlines, miles, minutes in
--   the air, the share that was cancelled and how late the others arrived, in minutes.
SELECT
    flights.origin,
    flights.dest,
    origins.name AS origin_airport,
    coalesce(dests.name, flights.dest) AS dest_airport,
    count(*) AS flights,
    count(DISTINCT flights.carrier) AS airlines,
    avg(flights.distance) AS average_distance,
    avg(flights.air_time) AS average_air_time,
    avg(CASE WHEN flights.dep_delay IS NULL THEN 1 ELSE 0 END) AS share_cancelled,
    avg(flights.arr_delay) AS average_arr_delay
FROM flights
JOIN airports AS origins ON origins.faa = flights.origin
LEFT JOIN airports AS dests ON dests.faa = flights.dest
GROUP BY ALL
ORDER BY flights DESC
