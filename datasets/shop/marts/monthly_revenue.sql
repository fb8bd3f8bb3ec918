-- title: Revenue by month
-- description: Orders, the customers behind them, those who bought for the first time that month
--   and those who came back, what they paid, and the average basket.
SELECT
    CAST(date_trunc('month', orders.date) AS DATE) AS month,
    count(*) AS orders,
    count(DISTINCT orders.customer_id) AS customers,
    count(DISTINCT CASE WHEN orders.date < date_trunc('month', customers.first_purchase) + INTERVAL 1 MONTH
        THEN orders.customer_id END) AS new_customers,
    count(DISTINCT CASE WHEN orders.date >= date_trunc('month', customers.first_purchase) + INTERVAL 1 MONTH
        THEN orders.customer_id END) AS returning_customers,
    CAST(sum(orders.number_of_cds) AS BIGINT) AS cds,
    sum(orders.dollar_value) AS revenue,
    avg(orders.dollar_value) AS average_basket
FROM orders
JOIN customers ON customers.customer_id = orders.customer_id
GROUP BY ALL
ORDER BY month
