SELECT count(*) AS orders, sum(number_of_cds)::BIGINT AS cds, min(date) AS first, max(date) AS last
FROM shop.orders;

SELECT number_of_cds, count(*) AS orders, max(dollar_value) AS most
FROM shop.orders
GROUP BY number_of_cds
ORDER BY number_of_cds;

SELECT year(date) AS year, month(date) AS month, count(DISTINCT customer_id) AS customers
FROM shop.orders
GROUP BY ALL
ORDER BY year, month;

SELECT c.first_purchase, count(*) AS orders, sum(o.dollar_value) AS revenue
FROM shop.orders AS o
JOIN shop.customers AS c USING (customer_id)
GROUP BY c.first_purchase
ORDER BY c.first_purchase;

SELECT order_id, customer_id, date, dollar_value
FROM shop.orders
WHERE dollar_value IS NOT NULL
ORDER BY dollar_value DESC, order_id
LIMIT 5
