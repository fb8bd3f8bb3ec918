-- title: One-time buyers by cohort
-- description: By the week of the first purchase, how many customers never ordered again, and what
--   they and the others paid for each order.
SELECT
    CAST(date_trunc('week', first_purchase) AS DATE) AS cohort_week,
    count(*) AS customers,
    count(CASE WHEN orders = 1 THEN 1 END) AS one_time_buyers,
    avg(CASE WHEN orders = 1 THEN 1 ELSE 0 END) AS share_one_time,
    avg(CASE WHEN orders = 1 THEN total_paid END) AS basket_of_one_time_buyers,
    avg(CASE WHEN orders > 1 THEN total_paid / orders END) AS basket_of_others
FROM customer_value
GROUP BY ALL
ORDER BY cohort_week
