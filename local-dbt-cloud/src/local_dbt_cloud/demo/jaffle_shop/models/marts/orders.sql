with

orders as (

    select * from {{ ref('stg_orders') }}

),

order_items as (

    select * from {{ ref('order_items') }}

),

item_totals as (

    select
        order_id,
        sum(quantity) as item_count,
        sum(revenue) as revenue,
        sum(cost) as cost,
        sum(margin) as margin,

    from order_items
    group by order_id

)

select
    orders.order_id,
    orders.customer_id,
    orders.store_id,
    orders.ordered_at,
    orders.ordered_date,
    orders.status,
    row_number() over (
        partition by orders.customer_id
        order by orders.ordered_at, orders.order_id
    ) as customer_order_number,
    item_totals.item_count,
    orders.subtotal,
    orders.tax_paid,
    orders.order_total,
    item_totals.revenue,
    item_totals.cost,
    item_totals.margin,

from orders
left join item_totals using (order_id)
