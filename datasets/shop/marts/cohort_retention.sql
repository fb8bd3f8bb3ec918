-- title: Cohort retention
-- description: Of the customers who first bought in a month, the share who buy in that month and in
--   each one after it, and what they pay. A month in which none of them buys has no row.
WITH cohorts AS (
    SELECT
        customer_id,
        CAST(date_trunc('month', first_purchase) AS DATE) AS cohort,
        count(*) OVER (PARTITION BY date_trunc('month', first_purchase)) AS size
    FROM customers
)
SELECT
    cohorts.cohort,
    date_diff('month', cohorts.cohort, orders.date) AS months_since,
    any_value(cohorts.size) AS cohort_size,
    count(DISTINCT orders.customer_id) AS customers,
    count(DISTINCT orders.customer_id) / any_value(cohorts.size) AS share_buying,
    count(*) AS orders,
    sum(orders.dollar_value) AS revenue
FROM orders
JOIN cohorts ON cohorts.customer_id = orders.customer_id
GROUP BY ALL
ORDER BY cohort, months_since
