with

items as (

    select
        order_id,
        sum(item_total) as items_total,

    from {{ ref('order_items') }}
    group by order_id

)

select
    orders.order_id,
    orders.subtotal,
    orders.tax_paid,
    orders.order_total,
    items.items_total,

from {{ ref('orders') }} as orders
left join items using (order_id)

where
    orders.subtotal is distinct from items.items_total
    or orders.order_total <> orders.subtotal + orders.tax_paid
