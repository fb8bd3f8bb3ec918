-- title: Customers by what they paid
-- description: Customers in bands of what they paid in all: how many they are, what they bring in,
--   how often and for how long they buy, and their share of all revenue.
SELECT
    CASE
        WHEN total_paid < 25 THEN 'a: under 25'
        WHEN total_paid < 50 THEN 'b: 25 to 50'
        WHEN total_paid < 100 THEN 'c: 50 to 100'
        WHEN total_paid < 250 THEN 'd: 100 to 250'
        WHEN total_paid < 500 THEN 'e: 250 to 500'
        ELSE 'f: 500 and more'
    END AS dollars_paid,
    count(*) AS customers,
    CAST(sum(orders) AS BIGINT) AS orders,
    sum(total_paid) AS revenue,
    sum(total_paid) / sum(sum(total_paid)) OVER () AS share_of_revenue,
    avg(orders) AS average_orders,
    avg(total_paid) AS average_paid,
    avg(date_diff('day', first_order, last_order)) AS average_days_active,
    avg(days_between_orders) AS average_days_between_orders
FROM customer_value
GROUP BY ALL
ORDER BY dollars_paid
