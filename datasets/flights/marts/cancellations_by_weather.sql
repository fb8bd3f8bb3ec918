-- title: Cancelled flights by weather
-- description: Flights by the wind, the visibility and the rain at the hour of their planned
--   departure: how many there were, how many were cancelled, and how late the others left, in minutes.
SELECT
    CASE
        WHEN weather.wind_speed < 10 THEN '0 to 10 mph'
        WHEN weather.wind_speed < 20 THEN '10 to 20 mph'
        WHEN weather.wind_speed < 30 THEN '20 to 30 mph'
        WHEN weather.wind_speed >= 30 THEN '30 mph and more'
        ELSE 'unknown'
    END AS wind,
    CASE
        WHEN weather.visib < 1 THEN '0 to 1 mile'
        WHEN weather.visib < 5 THEN '1 to 5 miles'
        WHEN weather.visib < 10 THEN '5 to 10 miles'
        WHEN weather.visib >= 10 THEN '10 miles'
        ELSE 'unknown'
    END AS visibility,
    CASE
        WHEN weather.precip = 0 THEN 'none'
        WHEN weather.precip < 0.1 THEN 'under 0.1 inch'
        WHEN weather.precip >= 0.1 THEN '0.1 inch and more'
        ELSE 'unknown'
    END AS rain,
    count(*) AS flights,
    count(CASE WHEN flights.dep_delay IS NULL THEN 1 END) AS cancelled,
    avg(CASE WHEN flights.dep_delay IS NULL THEN 1 ELSE 0 END) AS share_cancelled,
    avg(flights.dep_delay) AS average_dep_delay
FROM flights
LEFT JOIN weather ON weather.origin = flights.origin AND weather.time_hour = flights.time_hour
GROUP BY ALL
ORDER BY flights DESC
