with

items as (

    select * from {{ ref('stg_order_items') }}

),

orders as (

    select * from {{ ref('stg_orders') }}

),

products as (

    select * from {{ ref('stg_products') }}

),

joined as (

    select
        items.order_item_id,
        items.order_id,
        items.product_id,
        products.product_name,
        products.category,
        orders.ordered_date,
        orders.status,
        items.quantity,
        items.unit_price,
        items.quantity * items.unit_price as item_total,
        items.quantity * products.unit_cost as item_cost,

    from items
    left join orders using (order_id)
    left join products using (product_id)

),

earned as (

    select
        * exclude (item_cost),
        case when status = 'completed' then item_total else 0 end as revenue,
        case when status = 'returned' then 0 else item_cost end as cost,

    from joined

)

select
    *,
    revenue - cost as margin,

from earned
