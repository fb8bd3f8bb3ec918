-- title: Delays by airline and month
-- description: Flights of each airline in each month: the share that was cancelled, how late the
--   others left and arrived, in minutes, and the share that arrived more than 15 minutes late.
SELECT
    flights.carrier,
    airlines.name AS airline,
    make_date(flights.year, flights.month, 1) AS month,
    count(*) AS flights,
    avg(CASE WHEN flights.dep_delay IS NULL THEN 1 ELSE 0 END) AS share_cancelled,
    avg(flights.dep_delay) AS average_dep_delay,
    avg(flights.arr_delay) AS average_arr_delay,
    avg(CASE WHEN flights.arr_delay > 15 THEN 1 WHEN flights.arr_delay <= 15 THEN 0 END) AS share_late
FROM flights
JOIN airlines ON airlines.carrier = flights.carrier
GROUP BY ALL
ORDER BY carrier, month
