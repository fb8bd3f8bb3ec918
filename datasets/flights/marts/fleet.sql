-- title: Fleet
-- description: Planes by manufacturer and kind of engine: how many there are, when they were built,
--   how many seats they have, and how much they fly: those that took off, and their seats in all.
WITH flown AS (
    SELECT tailnum, count(*) AS flights, CAST(sum(distance) AS BIGINT) AS miles
    FROM flights
    WHERE dep_delay IS NOT NULL
    GROUP BY tailnum
)
SELECT
    planes.manufacturer,
    planes.engine,
    count(*) AS planes,
    avg(planes.year) AS average_year,
    avg(planes.seats) AS average_seats,
    CAST(sum(coalesce(flown.flights, 0)) AS BIGINT) AS flights,
    CAST(sum(coalesce(flown.miles, 0)) AS BIGINT) AS miles,
    avg(coalesce(flown.flights, 0)) AS average_flights,
    CAST(sum(planes.seats * coalesce(flown.flights, 0)) AS BIGINT) AS seats_flown
FROM planes
LEFT JOIN flown ON flown.tailnum = planes.tailnum
GROUP BY ALL
ORDER BY planes DESC, manufacturer, engine
