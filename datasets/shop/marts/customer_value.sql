-- title: Value of each customer
-- description: One row a customer: orders, CDs, what was paid in all, the first and the last day of
--   buying, and the average number of days from one order to the next (none with a single order).
SELECT
    customers.customer_id,
    customers.first_purchase,
    count(orders.order_id) AS orders,
    CAST(coalesce(sum(orders.number_of_cds), 0) AS BIGINT) AS cds,
    coalesce(sum(orders.dollar_value), 0) AS total_paid,
    min(orders.date) AS first_order,
    max(orders.date) AS last_order,
    date_diff('day', min(orders.date), max(orders.date)) / nullif(count(orders.order_id) - 1, 0)
        AS days_between_orders
FROM customers
LEFT JOIN orders ON orders.customer_id = customers.customer_id
GROUP BY customers.customer_id, customers.first_purchase
